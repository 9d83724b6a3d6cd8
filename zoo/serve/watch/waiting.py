"""Waiting: what was sent to a server and that no name leads to yet: how much it takes, by kind."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from threading import Lock
from types import MappingProxyType
from typing import NamedTuple

from zoo.store import Store
from zoo.store.sent import FOLDER

__all__ = ["KINDS", "Usage", "Waiting", "waiting"]

SECONDS = 60.0
"""So long the figures are good: in a bucket they cost a request for each thousand files."""
KINDS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "xorbs": re.compile(rf"{FOLDER}/[^/]+/xet-[^/]+/[0-9a-f]{{64}}"),
        "parts": re.compile(rf"{FOLDER}/[^/]+/(parts|lfs)-[^/]+/[^/]+"),
        "rest": re.compile(rf"{FOLDER}/.+", re.DOTALL),
    }
)
"""Chunks that clients of Xet have sent; parts of files and of objects; all else: what tells of
files that were sent, whose bytes are objects already, and what is arriving.
"""


class Usage(NamedTuple):
    """How many files, and their bytes."""

    files: int = 0
    bytes: int = 0


def waiting(store: Store) -> Mapping[str, Usage]:
    """What waits in a store, by `KINDS`.

    Raises:
        Unavailable: The bucket does not answer.
    """
    sizes: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for kind, size in _sizes(store):
        sizes[kind].append(size)
    return {kind: Usage(len(each), sum(each)) for kind, each in sizes.items()}


def _sizes(store: Store) -> Iterator[tuple[str, int]]:
    for file in store.backend.list(f"{FOLDER}/"):
        yield next(kind for kind, name in KINDS.items() if name.fullmatch(file.name)), file.bytes


class Waiting:
    """What waits in a store, as it was within the last minute."""

    def __init__(self, store: Store) -> None:
        self._store, self._lock = store, Lock()
        self._at, self._found = -SECONDS, dict[str, Usage]()

    def look(self) -> Mapping[str, Usage]:
        """What waits, by `KINDS`. Raises as `waiting`."""
        with self._lock:
            if time.monotonic() - self._at >= SECONDS:
                self._found, self._at = {**waiting(self._store)}, time.monotonic()
            return self._found
