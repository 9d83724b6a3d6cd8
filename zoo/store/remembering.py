"""Remembering: a backend that is asked once for what will be wanted of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Self

from zoo.contracts import Backend
from zoo.domain.stored import StoredFile
from zoo.store.capabilities import at_once, folders, is_served, newest, present, present_to

__all__ = ["Remembering"]


class Remembering:
    """Wraps a backend, and is one: of keys that it was told to `learn` it knows whether something
    is there, until it is written from here. Only for what is named by its digest, and for one push:
    what others write meanwhile is sent once more at worst, and is the same.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.at_once, self.served = at_once(backend), is_served(backend)
        self._known: dict[str, StoredFile | None] = {}

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Self:
        """Not used: a backend is connected first, and wrapped then."""
        raise NotImplementedError

    def __str__(self) -> str:
        return str(self.backend)

    def learn(self, keys: Collection[str], name: str) -> set[str]:
        """Ask for many keys in one go, before an upload to a name; those under which nothing is."""
        files = present_to(self.backend, name, keys)
        self._known |= {key: files.get(key) for key in keys}
        return {key for key in keys if key not in files}

    def rule_out(self, keys: Collection[str]) -> None:
        """Take it that nothing is under these keys."""
        self._known |= dict.fromkeys(keys)

    def stat(self, key: str) -> StoredFile | None:
        """See `Backend.stat`."""
        return self._known[key] if key in self._known else self.backend.stat(key)

    def present(self, keys: Collection[str]) -> Mapping[str, StoredFile]:
        """See `SupportsBatches.present`."""
        known = {key: self._known[key] for key in keys if key in self._known}
        files = {key: stored for key, stored in known.items() if stored}
        left = [key for key in keys if key not in known]
        return {**files, **present(self.backend, left)} if left else files

    def folders(self, folder: str) -> Collection[str]:
        """See `SupportsBatches.folders`."""
        return folders(self.backend, folder)

    def present_to(self, name: str, keys: Collection[str]) -> Mapping[str, StoredFile]:
        """See `ServerBackend.present_to`."""
        return present_to(self.backend, name, keys)

    def newest(self) -> Mapping[str, bytes]:
        """See `ServerBackend.newest`."""
        return newest(self.backend) or {}

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `Backend.open`."""
        return self.backend.open(key, offset, length)

    def put(self, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        """See `Backend.put`."""
        self._known.pop(key, None)
        self.backend.put(key, pieces)

    def create(self, key: str, data: bytes | memoryview) -> bool:
        """See `Backend.create`."""
        self._known.pop(key, None)
        return self.backend.create(key, data)

    def list(self, folder: str) -> Iterator[StoredFile]:
        """See `Backend.list`."""
        return self.backend.list(folder)

    def delete(self, key: str) -> None:
        """See `Backend.delete`."""
        self._known.pop(key, None)
        self.backend.delete(key)

    def now(self) -> datetime:
        """See `Backend.now`."""
        return self.backend.now()
