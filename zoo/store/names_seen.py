"""Names seen: what the names of a shared store are at, as it was seen a moment ago.

A bucket is asked by requests that take some hundredths of a second, and each answer of a server
looks at a name more than once.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from zoo.contracts import Backend
from zoo.domain.limits import ENTRY_BYTES
from zoo.domain.stored import StoredFile
from zoo.store.capabilities import folders, read_small

__all__ = ["ALL", "SEEN_SECONDS", "NamesSeen", "OneAtATime"]

ALL = "refs/"
OF_A_NAME = 4
"""Slashes of a folder that has the entries of one name."""
SEEN_SECONDS = 10.0
"""So old what is told of a shared store may be."""
ROOM = 50_000
"""Entries that are kept in memory, and listings of folders."""
T = TypeVar("T")


class OneAtATime:
    """Locks by name, for the threads of this process."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, Lock] = WeakValueDictionary()
        self._lock = Lock()

    def of(self, name: str) -> Lock:
        """The lock of a name."""
        with self._lock:
            return self._locks.setdefault(name, Lock())


@dataclass
class _Tree:
    """All entries: the files of each folder that has some, and the folders in each."""

    files: dict[str, list[StoredFile]] = field(default_factory=lambda: defaultdict(list))
    inner: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, file: StoredFile) -> None:
        """Add an entry."""
        folder = f"{file.name.rpartition('/')[0]}/"
        self.files[folder].append(file)
        while folder != ALL and "/" in folder[:-1]:
            above, _, name = folder[:-1].rpartition("/")
            self.inner[f"{above}/"].add(name)
            folder = f"{above}/"


class _Seen(Generic[T]):
    """Answers, and when they were asked for. Of several that want to know one thing one asks."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[float, T]] = {}
        self._one = OneAtATime()

    def known(self, what: str, since: float) -> T | None:
        """The answer, if it was asked for since a time."""
        asked, answer = self._answers.get(what, (-1.0, None))
        return answer if asked >= since else None

    def get(self, what: str, since: Callable[[], float], ask: Callable[[], T]) -> T:
        """The answer, which is asked for if it is older than that."""
        with self._one.of(what):
            if (known := self.known(what, since())) is not None:
                return known
            began, answer = time.monotonic(), ask()
            if len(self._answers) >= ROOM:
                self._answers.clear()
            self._answers[what] = began, answer
            return answer


class NamesSeen:
    """The entries of names in a backend, seen at most `SEEN_SECONDS` ago, and after the last
    `look_again`.
    """

    def __init__(self, shared: Backend) -> None:
        self._shared = shared
        self._since = 0.0
        self._trees: _Seen[_Tree] = _Seen()
        self._lists: _Seen[list[StoredFile]] = _Seen()
        self._folders: _Seen[Collection[str]] = _Seen()
        self._entry = lru_cache(ROOM)(self._read)

    def since(self) -> float:
        """What was asked for after that, by `time.monotonic`, can still be told."""
        return max(self._since, time.monotonic() - SEEN_SECONDS)

    def look_again(self) -> None:
        """Tell nothing more that was seen before."""
        self._since = time.monotonic()

    def list(self, folder: str) -> Iterator[StoredFile]:
        """The entries below a folder."""
        if folder == ALL:
            tree = self._trees.get(ALL, self.since, self._tree)
            yield from (file for files in tree.files.values() for file in files)
        elif folder.count("/") == OF_A_NAME and (known := self._trees.known(ALL, self.since())):
            yield from known.files.get(folder, ())
        else:
            yield from self._lists.get(folder, self.since, lambda: [*self._shared.list(folder)])

    def folders(self, folder: str) -> Collection[str]:
        """The folders directly in a folder."""
        if known := self._trees.known(ALL, self.since()):
            return known.inner.get(folder, ())
        return self._folders.get(folder, self.since, lambda: folders(self._shared, folder))

    def _tree(self) -> _Tree:
        tree = _Tree()
        for file in self._shared.list(ALL):
            tree.add(file)
        return tree

    def stat(self, key: str) -> StoredFile | None:
        """An entry; None if there is none."""
        folder = f"{key.rpartition('/')[0]}/"
        return next((file for file in self.list(folder) if file.name == key), None)

    def read(self, key: str) -> bytes:
        """The bytes of an entry: it never changes, though another one may take its place.

        Raises:
            FileNotFoundError: There is none.
        """
        file = self.stat(key)
        if file is None:
            raise FileNotFoundError(key)
        return self._entry(key, file.bytes, file.at)

    def _read(self, key: str, _size: int, _at: datetime) -> bytes:
        return read_small(self._shared, key, ENTRY_BYTES)
