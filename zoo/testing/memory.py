"""A backend in this process's memory: for tests of what talks to remotes, and the contract at its
plainest.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Self

from zoo.domain.stored import StoredFile

__all__ = ["MemoryBackend"]


class MemoryBackend:
    """Implements `zoo.contracts.Backend`, and ends with the process."""

    def __init__(self, location: str = "memory") -> None:
        self.location = location
        self._kept: dict[str, tuple[bytes, datetime]] = {}
        self._lock = threading.Lock()

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Self:  # noqa: ARG003 - it is always new
        """An empty one."""
        return cls(location)

    def __str__(self) -> str:
        return self.location

    def stat(self, key: str) -> StoredFile | None:
        """Size and date of what is under a key; None if nothing is."""
        if key not in self._kept:
            return None
        data, at = self._kept[key]
        return StoredFile(key, len(data), at)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from ``offset`` on, at most ``length`` of them."""
        if key not in self._kept:
            raise FileNotFoundError(key)
        yield self._kept[key][0][offset : None if length is None else offset + length]

    def put(self, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Keep the pieces under a key, in the place of what is there."""
        self._kept[key] = b"".join(pieces), self.now()

    def create(self, key: str, data: bytes | memoryview) -> bool:
        """As `put`, unless something is under the key already; whether it was kept."""
        with self._lock:
            if key in self._kept:
                return False
            self.put(key, [data])
            return True

    def list(self, folder: str) -> Iterator[StoredFile]:
        """All that is in a folder and in those below."""
        for key, (data, at) in self._kept.copy().items():
            if key.startswith(folder):
                yield StoredFile(key, len(data), at)

    def delete(self, key: str) -> None:
        """Delete what is under a key, if anything is."""
        self._kept.pop(key, None)

    def now(self) -> datetime:
        """The time of this machine."""
        return datetime.now(UTC)
