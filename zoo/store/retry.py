"""Retry: a backend that is asked again when it does not answer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Self, TypeVar

from zoo.contracts import Backend, SupportsBatches
from zoo.domain.stored import StoredFile
from zoo.errors import BrokenPlugin, Corrupt, Unavailable
from zoo.store.capabilities import at_once, folders, is_served, newest, present_to, stat_each

__all__ = ["Retrying"]

TRIES = 5
"""With the pauses between them, up to 7.5 s: a server that restarts is back by then."""
CORRUPT_RETRIES = 2
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0

T = TypeVar("T")


class Retrying:
    """Wraps a backend, and is one: what fails is done again, after a pause that grows.

    `Unavailable` is met with up to four more tries, `Corrupt` (bytes that were damaged on the way)
    with up to two, anything else with none.

    Args:
        backend: The backend.
        pause: Waits for that many seconds.
        draw: A number in 0..1; pauses differ, so that many who were cut off at once do not come
            back at once.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        pause: Callable[[float], object] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.backend = backend
        self.at_once = at_once(backend)
        self.served = is_served(backend)
        self._pause = pause
        self._draw = draw

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Self:
        """Not used: a backend is connected first, and wrapped then."""
        raise NotImplementedError

    def __str__(self) -> str:
        return str(self.backend)

    def stat(self, key: str) -> StoredFile | None:
        """See `Backend.stat`."""
        return self._again(lambda: self.backend.stat(key))

    def newest(self) -> Mapping[str, bytes]:
        """See `ServerBackend.newest`."""
        return self._again(lambda: newest(self.backend) or {})

    def present_to(self, name: str, keys: Collection[str]) -> Mapping[str, StoredFile]:
        """See `ServerBackend.present_to`."""
        return self._again(lambda: present_to(self.backend, name, keys))

    def present(self, keys: Collection[str]) -> Mapping[str, StoredFile]:
        """See `SupportsBatches.present`."""
        backend = self.backend
        if isinstance(backend, SupportsBatches):
            return self._again(lambda: backend.present(keys))
        return stat_each(self, keys)  # each is a question of its own

    def folders(self, folder: str) -> Collection[str]:
        """See `SupportsBatches.folders`."""
        return self._again(lambda: folders(self.backend, folder))

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `Backend.open`. Goes on where it was cut off."""
        failures, end = _Failures(self._pause, self._draw), None
        if length is not None:
            end = offset + length
        while True:
            try:
                left = None if end is None else end - offset
                for piece in self.backend.open(key, offset, left):
                    offset += len(piece)
                    yield piece
            except Unavailable as error:
                failures.met(error)
            except TypeError as error:
                raise self._broken(error) from error
            else:
                return

    def put(self, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        """See `Backend.put`. What can be taken once only is held in memory, for the next try."""
        repeatable = list(pieces) if isinstance(pieces, Iterator) else pieces
        self._again(lambda: self.backend.put(key, repeatable))

    def create(self, key: str, data: bytes | memoryview) -> bool:
        """See `Backend.create`. A try whose answer was lost is not taken for somebody else's."""
        tries = 0

        def create() -> bool:
            nonlocal tries
            tries += 1
            if self.backend.create(key, data):
                return True
            return tries > 1 and b"".join(self.backend.open(key, 0, len(data) + 1)) == data

        return self._again(create)

    def list(self, folder: str) -> Iterator[StoredFile]:
        """See `Backend.list`."""
        return iter(self._again(lambda: [*self.backend.list(folder)]))

    def delete(self, key: str) -> None:
        """See `Backend.delete`."""
        self._again(lambda: self.backend.delete(key))

    def now(self) -> datetime:
        """See `Backend.now`."""
        return self._again(self.backend.now)

    def _again(self, work: Callable[[], T]) -> T:
        failures = _Failures(self._pause, self._draw)
        while True:
            try:
                return work()
            except (Unavailable, Corrupt) as error:
                failures.met(error)
            except TypeError as error:
                raise self._broken(error) from error

    def _broken(self, error: TypeError) -> BrokenPlugin:
        """For a plugin that was written for another contract: its methods take something else."""
        kind = type(self.backend)
        return BrokenPlugin(f"the remote {self} ({kind.__module__}.{kind.__name__}) fails: {error}")


class _Failures:
    """The failures of one operation: pauses, or raises the last one when there were too many."""

    def __init__(self, pause: Callable[[float], object], draw: Callable[[], float]) -> None:
        self._pause = pause
        self._draw = draw
        self._unavailable = 0
        self._corrupt = 0

    def met(self, error: Unavailable | Corrupt) -> None:
        """Wait before the next try, or raise ``error``."""
        self._unavailable += isinstance(error, Unavailable)
        self._corrupt += isinstance(error, Corrupt)
        count = self._unavailable + self._corrupt
        if count >= TRIES or self._corrupt > CORRUPT_RETRIES:
            raise error
        longest = min(FIRST_PAUSE * 2 ** (count - 1), LONGEST_PAUSE)
        self._pause(longest * (0.5 + 0.5 * self._draw()))
