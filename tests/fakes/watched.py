"""Watch what the interpreter is told to do: modules, files, programs, addresses.

Audit hooks stay until the process ends: this one looks at nothing unless it is asked to.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["MARK", "watched"]

MARK = "wicked7"
"""What a stranger's texts hold."""
FILES = ("open", "os.", "shutil.", "glob.", "pathlib.", "tempfile.", "sqlite3.connect", "mmap.")
_watching: list[tuple[list[str], Sequence[Path]]] = []


@contextmanager
def watched(*within: Path) -> Iterator[list[str]]:
    """The events in which a text with `MARK` in it is a module, code, a program, an address, or the
    path of a file that is not below one of the folders ``within``.
    """
    seen: list[str] = []
    _watching.append((seen, [Path(os.path.realpath(folder)) for folder in within]))
    try:
        yield seen
    finally:
        _watching.pop()


def _hook(event: str, given: tuple[Any, ...]) -> None:
    if not _watching or event in HARMLESS:
        return
    seen, within = _watching[-1]
    texts = [text for text in map(_text, _flat(given)) if MARK in text]
    if event.startswith(FILES) and not event.startswith(PROGRAMS):
        texts = [text for text in texts if not _below(text, within)]
    if texts:
        seen.append(f"{event} {texts[0]:.200}")


def _flat(given: Any) -> Iterator[Any]:
    if isinstance(given, list | tuple):
        for each in given:
            yield from _flat(each)
    else:
        yield given


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value) if isinstance(value, str | os.PathLike) else ""


def _below(text: str, within: Sequence[Path]) -> bool:
    real = Path(os.path.realpath(text))
    return any(real.is_relative_to(folder) for folder in within)


PROGRAMS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile")
HARMLESS = frozenset({"object.__getattr__", "object.__setattr__", "sys._getframe", "builtins.id"})
sys.addaudithook(_hook)
