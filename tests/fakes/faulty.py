"""A remote on a bad line."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from random import Random
from typing import Self, TypeVar

from zoo.contracts import Kind, Remote
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.errors import Conflict, Unavailable

__all__ = ["FAULTS", "SILENT_FAULTS", "FaultyRemote"]

FAULTS = ("fails", "loses the answer", "stalls", "duplicates", "damages", "truncates")
SILENT_FAULTS = FAULTS[4:]
"""What only whoever keeps the bytes can notice."""

STALL_SECONDS = 0.001
T = TypeVar("T")


class FaultyRemote:
    """Wraps a remote; a share of the operations goes wrong, drawn by seed.

    Attributes:
        met: How often which fault was met.
    """

    def __init__(
        self, remote: Remote, seed: int, *, share: float, faults: tuple[str, ...] = FAULTS
    ) -> None:
        self.remote = remote
        self.share = share
        self.faults = faults
        self.met: Counter[str] = Counter()
        self._draw = Random(seed)

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Self:
        raise NotImplementedError

    def missing(self, kind: Kind, digests: Iterable[Digest]) -> set[Digest]:
        wanted = list(digests)
        return self._do(lambda: self.remote.missing(kind, wanted))

    def size(self, kind: Kind, digest: Digest) -> int:
        return self._do(lambda: self.remote.size(kind, digest))

    def read(self, kind: Kind, digest: Digest, offset: int = 0) -> Iterator[bytes]:
        fault = self._fault()
        self._before(fault)
        data = b"".join(self.remote.read(kind, digest, offset))
        half = len(data) // 2
        yield from self._spoilt(fault, [data[:half], data[half:]])
        if fault == "loses the answer":
            raise self._unavailable()

    def write(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> bool:
        fault = self._fault()
        self._before(fault)
        kept = list(pieces)
        written = self.remote.write(kind, digest, self._spoilt(fault, kept))
        if fault == "duplicates":
            self.remote.write(kind, digest, kept)
        if fault == "loses the answer":
            raise self._unavailable()
        return written

    def upload(self) -> AbstractContextManager[None]:
        return self.remote.upload()

    def refs(self) -> Iterator[Reference]:
        return iter(self._do(lambda: list(self.remote.refs())))

    def read_ref(self, ref: Reference) -> RefEntry | None:
        return self._do(lambda: self.remote.read_ref(ref))

    def history(self, ref: Reference) -> tuple[RefEntry, ...]:
        return self._do(lambda: self.remote.history(ref))

    def append_ref(self, ref: Reference, entry: RefEntry) -> None:
        def append() -> None:
            try:
                self.remote.append_ref(ref, entry)
            except Conflict:
                if not done:
                    raise
            done.append(True)

        done: list[bool] = []  # a duplicate of one's own is refused, and nobody is told
        self._do(append)

    def _do(self, work: Callable[[], T]) -> T:
        fault = self._fault()
        self._before(fault)
        answer = work()
        if fault == "duplicates":
            work()
        if fault == "loses the answer":
            raise self._unavailable()
        return answer

    def _fault(self) -> str:
        if self._draw.random() >= self.share:
            return ""
        fault = self._draw.choice(self.faults)
        self.met[fault] += 1
        return fault

    def _before(self, fault: str) -> None:
        if fault == "fails":
            raise self._unavailable()
        if fault == "stalls":
            time.sleep(STALL_SECONDS)

    def _spoilt(self, fault: str, pieces: list[bytes]) -> Iterator[bytes]:
        if fault not in SILENT_FAULTS:
            yield from pieces
            return
        data = bytearray(b"".join(pieces))
        # Every other time in the first bytes, which decide how the rest is read.
        place = self._draw.randrange(min(len(data), self._draw.choice([88, len(data)])))
        if fault == "damages":
            data[place] ^= self._draw.randrange(1, 256)
        yield bytes(data[:place] if fault == "truncates" else data)

    def _unavailable(self) -> Unavailable:
        return Unavailable("the faulty remote", "stopped answering")
