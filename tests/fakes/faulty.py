"""A backend on a bad line."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from random import Random
from typing import Self, TypeVar

from zoo.contracts import Backend
from zoo.domain.stored import StoredFile
from zoo.errors import Corrupt, Unavailable

__all__ = ["FAULTS", "SILENT_FAULTS", "FaultyBackend"]

FAULTS = ("fails", "loses the answer", "stalls", "duplicates", "damages", "truncates")
SILENT_FAULTS = FAULTS[4:]
"""What only whoever keeps the bytes can notice."""

CONTENT = ("objects/", "encoded/", "manifests/", "encoded-manifests/")
STALL_SECONDS = 0.001
T = TypeVar("T")


class FaultyBackend:
    """Wraps a backend; a share of the operations goes wrong, drawn by seed. Signs are spared, as
    one that stays stops others by design. What is sent is checked at the other end.

    Attributes:
        met: How often which fault was met.
    """

    def __init__(
        self, backend: Backend, seed: int, *, share: float, faults: tuple[str, ...] = FAULTS
    ) -> None:
        self.backend = backend
        self.share = share
        self.faults = faults
        self.met: Counter[str] = Counter()
        self._draw = Random(seed)

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Self:
        raise NotImplementedError

    def __str__(self) -> str:
        return str(self.backend)

    def stat(self, key: str) -> StoredFile | None:
        return self._do(key, lambda: self.backend.stat(key))

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        fault = self._fault(key)
        self._before(fault)
        data = self._spoilt(key, fault, b"".join(self.backend.open(key, offset, length)))
        yield data[: len(data) // 2]
        yield data[len(data) // 2 :]
        if fault == "loses the answer":
            raise self._unavailable()

    def put(self, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        fault = self._fault(key)
        self._before(fault)
        kept = b"".join(pieces)
        if self._spoilt(key, fault, kept) != kept:
            raise Corrupt(key, "what was sent", "something else")
        self.backend.put(key, [kept])
        if fault == "duplicates":
            self.backend.put(key, [kept])
        if fault == "loses the answer":
            raise self._unavailable()

    def create(self, key: str, data: bytes | memoryview) -> bool:
        return self._do(key, lambda: self.backend.create(key, data))

    def list(self, folder: str) -> Iterator[StoredFile]:
        return iter(self._do(folder, lambda: [*self.backend.list(folder)]))

    def delete(self, key: str) -> None:
        self._do(key, lambda: self.backend.delete(key))

    def now(self) -> datetime:
        return self.backend.now()

    def _do(self, key: str, work: Callable[[], T]) -> T:
        fault = self._fault(key)
        self._before(fault)
        answer = work()
        if fault == "duplicates":
            work()  # what this one says is not heard
        if fault == "loses the answer":
            raise self._unavailable()
        return answer

    def _fault(self, key: str) -> str:
        if key.startswith("tmp/") or self._draw.random() >= self.share:
            return ""
        fault = self._draw.choice(self.faults)
        self.met[fault] += 1
        return fault

    def _before(self, fault: str) -> None:
        if fault == "fails":
            raise self._unavailable()
        if fault == "stalls":
            time.sleep(STALL_SECONDS)

    def _spoilt(self, key: str, fault: str, sent: bytes) -> bytes:
        if fault not in SILENT_FAULTS or not key.startswith(CONTENT) or not sent:
            return sent
        data = bytearray(sent)
        # Every other time in the first bytes, which decide how the rest is read.
        place = self._draw.randrange(min(len(data), self._draw.choice([88, len(data)])))
        if fault == "damages":
            data[place] ^= self._draw.randrange(1, 256)
        return bytes(data[:place] if fault == "truncates" else data)

    def _unavailable(self) -> Unavailable:
        return Unavailable("the faulty remote", "stopped answering")
