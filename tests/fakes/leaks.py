"""The secrets that tests make, and the search for them where none may be."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fakes.served import Got

from zoo.serve.watch import logs
from zoo.serve.who import accounts, tokens
from zoo.serve.who.tokens import TOKEN, Secret, read_secret

__all__ = ["Leaks", "watching"]

WORD = re.compile(rb"[\w-]{40,}")
DIGESTS = re.compile(rb"[0-9a-f]+")  # no secret is of these only, and most long words are
LENGTHS = (40, 43)
"""Characters of the secret part of a token, and of what `secrets.token_urlsafe` gives for 32 bytes:
sessions, codes of programs that wait to be let in, links."""
LARGEST = 8 << 20
"""Bytes of a file that is read: larger ones are weights."""


class Leaks(logging.Handler):
    """What was made in this process, and where it was found.

    Attributes:
        found: Places that have a secret; none may.
    """

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.setFormatter(logs._Json())
        self.made: set[bytes] = set()
        self.found: list[str] = []

    def keep(self, secret: str) -> None:
        """Look for this one, too, from now on."""
        self.made.add(secret.encode())

    def emit(self, record: logging.LogRecord) -> None:
        """What a server writes of it."""
        self.search(f"the log: {record.msg}", self.format(record).encode())

    def search(self, where: str, data: bytes) -> None:
        """Note ``where`` if ``data`` has a secret that was made here, or any token."""
        text = data.decode("latin-1")
        if any(read_secret(match[0]) for match in TOKEN.finditer(text)) or any(
            word[at : at + length] in self.made
            for word in WORD.findall(data)
            if not DIGESTS.fullmatch(word)
            for length in LENGTHS
            for at in range(len(word) - length + 1)
        ):
            self.found.append(where)

    def judge(self, report: pytest.TestReport) -> None:
        """A test has failed if a secret is in what its processes wrote, as servers do their log."""
        before = len(self.found)
        for name, text in report.sections:
            if "stderr" in name:
                self.search(name, text.encode())
        if found := self.found[before:]:
            del self.found[before:]
            report.outcome, report.longrepr = "failed", f"a secret is in {', '.join(found)}"

    def asking(self, ask: Callable[..., Got]) -> Callable[..., Got]:
        """As ``ask``, which sends a request; answers that are refusals are searched."""

        def watched(url: str, path: str, *args: Any, **more: Any) -> Got:
            got = ask(url, path, *args, **more)
            if got.status >= 400 or path == "/metrics":
                self.search(f"{got.status} of {path}", f"{got.headers} {got.body!r}".encode())
            return got

        return watched

    def search_files(self, folders: Iterable[Path], skip: Callable[[Path], bool]) -> None:
        """As `search` of all files below some folders but those to ``skip``."""
        for folder in folders:
            for path in folder.rglob("*"):
                with suppress(OSError):  # it goes while one looks, or is a socket
                    if path.is_file() and not skip(path) and path.stat().st_size <= LARGEST:
                        self.search(str(path), path.read_bytes())


@contextmanager
def watching() -> Iterator[Leaks]:
    """Know each secret that is made in this process meanwhile, and all that is logged."""
    leaks, new, urlsafe = Leaks(), tokens.new_secret, secrets.token_urlsafe

    def new_secret() -> Secret:
        made = new()
        leaks.keep(made.secret)
        return made

    def token_urlsafe(nbytes: Any = None) -> str:
        made = urlsafe(nbytes)
        leaks.keep(made)
        return made

    root = logging.getLogger()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "new_secret", new_secret)
        patch.setattr(secrets, "token_urlsafe", token_urlsafe)
        root.addHandler(leaks)
        try:
            yield leaks
        finally:
            root.removeHandler(leaks)
