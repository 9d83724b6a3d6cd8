"""Writing: the folder that advice, or a ranking, is written into."""

from __future__ import annotations

import json
from pathlib import Path

from zoo.domain.result import Result
from zoo.store.atomic import write_whole

__all__ = ["clear", "save_answer", "save_text"]


def clear(out: Path, *names: str) -> None:
    """Make the folder, without what it has of an earlier answer, which this one replaces."""
    out.mkdir(parents=True, exist_ok=True)
    for stale in names:
        (out / stale).unlink(missing_ok=True)


def save_answer(path: Path, answer: Result) -> None:
    """Write an answer as JSON. Last of all: a folder that has it is whole."""
    save_text(path, json.dumps(answer.to_json(), indent=2, ensure_ascii=False) + "\n")


def save_text(path: Path, text: str) -> None:
    """Write a text whole; names of files, which it may have, need not be UTF-8."""
    write_whole(path, [text.encode("utf-8", "surrogateescape")])
