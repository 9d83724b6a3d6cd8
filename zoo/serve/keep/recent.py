"""Recent: what was read last, in memory, for threads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["Recent"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def one(_: object) -> int:
    """What a value counts where all are of much the same size."""
    return 1


class Recent(Generic[K, V]):
    """The values that were used last, as many as are in ``room`` by what each counts; the last one
    in any case.
    """

    def __init__(self, room: int, counts: Callable[[V], int] = one) -> None:
        self._room, self._counts, self._total = room, counts, 0
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        """The value of a key; None if it is not here any more."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: K, value: V) -> V:
        """Keep a value; the same."""
        with self._lock:
            if key in self._values:
                self._total -= self._counts(self._values.pop(key))
            self._values[key] = value
            self._total += self._counts(value)
            while self._total > self._room and len(self._values) > 1:
                self._total -= self._counts(self._values.popitem(last=False)[1])
        return value
