"""Retry: a remote that is asked again when it does not answer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Self, TypeVar

from zoo.contracts import Folder, Kind, Maintained, Remote
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.domain.stored import Stored
from zoo.errors import Conflict, Corrupt, Unavailable

__all__ = ["Retrying", "RetryingMaintained", "maintained"]

TRIES = 5
CORRUPT_RETRIES = 2
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0

T = TypeVar("T")


class Retrying:
    """Wraps a remote, and is one: what fails is done again, after a pause that grows.

    `Unavailable` is met with up to four more tries, `Corrupt` (bytes that were damaged on the way)
    with up to two, anything else with none.

    Args:
        remote: The remote.
        pause: Waits for that many seconds.
        draw: A number in 0..1; pauses differ, so that many who were cut off at once do not come
            back at once.
    """

    def __init__(
        self,
        remote: Remote,
        *,
        pause: Callable[[float], object] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.remote = remote
        self._pause = pause
        self._draw = draw

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Self:
        """Not used: a remote is connected first, and wrapped then."""
        raise NotImplementedError

    def missing(self, kind: Kind, digests: Iterable[Digest]) -> set[Digest]:
        """See `Remote.missing`."""
        wanted = list(digests)
        return self._again(lambda: self.remote.missing(kind, wanted))

    def size(self, kind: Kind, digest: Digest) -> int:
        """See `Remote.size`."""
        return self._again(lambda: self.remote.size(kind, digest))

    def read(self, kind: Kind, digest: Digest, offset: int = 0) -> Iterator[bytes]:
        """See `Remote.read`. Goes on where it was cut off."""
        failures = _Failures(self._pause, self._draw)
        while True:
            try:
                for piece in self.remote.read(kind, digest, offset):
                    offset += len(piece)
                    yield piece
            except Unavailable as error:
                failures.met(error)
            else:
                return

    def write(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> bool:
        """See `Remote.write`. What can be read once only is held in memory, for the next try."""
        kept = _again(pieces)
        return self._again(lambda: self.remote.write(kind, digest, kept))

    def upload(self) -> AbstractContextManager[None]:
        """See `Remote.upload`."""
        return self.remote.upload()

    def refs(self) -> Iterator[Reference]:
        """See `Remote.refs`."""
        return iter(self._again(lambda: list(self.remote.refs())))

    def read_ref(self, ref: Reference) -> RefEntry | None:
        """See `Remote.read_ref`."""
        return self._again(lambda: self.remote.read_ref(ref))

    def history(self, ref: Reference) -> tuple[RefEntry, ...]:
        """See `Remote.history`."""
        return self._again(lambda: self.remote.history(ref))

    def append_ref(self, ref: Reference, entry: RefEntry) -> None:
        """See `Remote.append_ref`. A try whose answer was lost is not taken for somebody else's."""
        tries = 0

        def append() -> None:
            nonlocal tries
            tries += 1
            try:
                self.remote.append_ref(ref, entry)
            except Conflict:
                if tries == 1 or entry not in self.remote.history(ref):
                    raise

        self._again(append)

    def _again(self, work: Callable[[], T]) -> T:
        failures = _Failures(self._pause, self._draw)
        while True:
            try:
                return work()
            except (Unavailable, Corrupt) as error:
                failures.met(error)


class RetryingMaintained(Retrying):
    """As `Retrying`, of a remote that is `Maintained`, and one itself."""

    remote: Maintained

    @property
    def at_once(self) -> int:
        """See `Maintained.at_once`."""
        return self.remote.at_once

    def now(self) -> datetime:
        """See `Maintained.now`."""
        return self._again(self.remote.now)

    def files(self, folder: Folder) -> Iterator[Stored]:
        """See `Maintained.files`."""
        return iter(self._again(lambda: list(self.remote.files(folder))))

    def start(self, kind: Kind, digest: Digest, length: int) -> bytes:
        """See `Maintained.start`."""
        return self._again(lambda: self.remote.start(kind, digest, length))

    def is_sound(self, kind: Kind, digest: Digest) -> bool:
        """See `Maintained.is_sound`."""
        return self._again(lambda: self.remote.is_sound(kind, digest))

    def replace(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> None:
        """See `Maintained.replace`. What can be read once only is held, as in `write`."""
        kept = _again(pieces)
        self._again(lambda: self.remote.replace(kind, digest, kept))

    def remove(self, name: str) -> None:
        """See `Maintained.remove`."""
        self._again(lambda: self.remote.remove(name))

    def remember_pruned(self, digest: Digest) -> None:
        """See `Maintained.remember_pruned`."""
        self._again(lambda: self.remote.remember_pruned(digest))

    def pruning(self) -> AbstractContextManager[None]:
        """See `Maintained.pruning`."""
        return self.remote.pruning()


def maintained(place: Remote) -> Maintained | None:
    """``place`` as one that can be verified and pruned, or None if it cannot be."""
    if isinstance(place, Retrying) and isinstance(place.remote, Maintained):
        return RetryingMaintained(place.remote, pause=place._pause, draw=place._draw)
    return place if isinstance(place, Maintained) else None


def _again(pieces: Iterable[bytes | memoryview]) -> Iterable[bytes | memoryview]:
    """The same pieces, as something that gives them each time that it is asked."""
    return list(pieces) if isinstance(pieces, Iterator) else pieces


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
