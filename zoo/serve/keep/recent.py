"""Recent: what was read last, in memory, for threads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["LruCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def one(_: object) -> int:
    """What a value counts where all are of much the same size."""
    return 1


class LruCache(Generic[K, V]):
    """The values that were used last, as many as are in ``room`` by what each counts; the last one
    in any case.
    """

    def __init__(self, room: int, counts: Callable[[V], int] = one) -> None:
        self._room, self._counts, self._total = room, counts, 0
        # With what each counted when it came: it may have grown since.
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        """The value of a key; None if it is not here any more."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: K, value: V) -> V:
        """Keep a value; the same. One that has grown is put again, to be counted as it is now."""
        with self._lock:
            if key in self._values:
                self._total -= self._values.pop(key)[1]
            counted = self._counts(value)
            self._values[key] = value, counted
            self._total += counted
            while self._total > self._room and len(self._values) > 1:
                self._total -= self._values.popitem(last=False)[1][1]
        return value
