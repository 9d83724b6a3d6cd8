"""Deprecations: the names that are to be used no more, read off the store.

The index does not know of them. The folder of each name is looked at, and read where it has changed
since.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock

from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.errors import InvalidReference, ZooError
from zoo.store import Store
from zoo.store.folder import FolderBackend

__all__ = ["Deprecations"]

LOOK_SECONDS = 5.0
"""Who asks waits so long at most; who asks next goes on."""
SHARE = 20
"""After a look at all names that takes some time, there is none for so many times that."""
RACY_NS = 2_000_000_000
"""A folder that changed less than so many nanoseconds ago may change again without a new time."""


class Deprecations:
    """What names of a store are deprecated. Names move beside this server, too."""

    def __init__(self, store: Store) -> None:
        self._store, self._lock, self._rested = store, Lock(), 0.0
        self._known: dict[Reference, tuple[int, RefEntry | None]] = {}
        self._complete = False

    def all(self) -> tuple[Mapping[Reference, RefEntry], bool]:
        """The newest entry of each name that is deprecated, by name; whether these are all, as far
        as names can be read.
        """
        with self._lock:
            if time.monotonic() >= self._rested:
                began = time.monotonic()
                self._complete = self._look(began + LOOK_SECONDS)
                took = time.monotonic() - began
                self._rested = time.monotonic() + (SHARE * took if self._complete else 0.0)
            entries = {ref: entry for ref, (_, entry) in self._known.items() if entry}
            return dict(sorted(entries.items())), self._complete

    def _look(self, until: float) -> bool:
        """Look at all names, as far as one comes until then; whether that was to the end."""
        before, self._known = self._known, {}
        settled, complete = time.time_ns() - RACY_NS, True
        for ref, changed in _folders(self._store):
            known = before.get(ref)
            if known and known[0] == changed:
                self._known[ref] = known
            elif time.monotonic() < until:
                self._known[ref] = changed if changed < settled else 0, self._read(ref)
            else:
                complete = False
        return complete

    def _read(self, ref: Reference) -> RefEntry | None:
        """The newest entry of a name, if it deprecates it."""
        with suppress(ZooError, OSError):  # `zoo verify` tells
            entry = self._store.read_ref(ref)
            return entry if entry and entry.deprecated and not entry.deleted else None
        return None


def _folders(store: Store) -> Iterator[tuple[Reference, int]]:
    """The names that are there, and when the folder of each changed, in nanoseconds; of those that
    lie in no folder, the number of the newest entry.
    """
    if not isinstance(store.backend, FolderBackend):
        yield from store.newest_numbers().items()
        return
    for namespace in _inside(store.root / "refs"):
        for name in _inside(namespace.path):
            for tag in _inside(name.path):
                with suppress(InvalidReference, OSError):
                    ref = Reference(namespace.name, name.name, tag.name)
                    yield ref, tag.stat(follow_symlinks=False).st_mtime_ns


def _inside(folder: Path | str) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:
        return [each for each in entries if each.is_dir(follow_symlinks=False)]
    return []
