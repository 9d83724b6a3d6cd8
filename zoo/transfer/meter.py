"""Meter: counts the bytes of one object as they pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import Event

from zoo.errors import Unavailable

__all__ = ["Meter", "check"]


class Meter:
    """Tells progress of an object's bytes as they pass; over all, exactly its size.

    Args:
        size: Bytes of the object that count.
        advance: Told of each piece.
        stop: Once set, what passes ends with an error.
    """

    def __init__(self, size: int, advance: Callable[[float], None], stop: Event) -> None:
        self.passed = 0
        self._size = size
        self._told = 0
        self._advance = advance
        self._stop = stop

    def through(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces.

        Raises:
            Unavailable: The transfer was stopped.
        """
        for piece in pieces:
            check(self._stop)
            self.passed += len(piece)
            self.tell(min(self.passed, self._size))
            yield piece

    def tell(self, done: int) -> None:
        """Show so many bytes of the object as done."""
        self._advance(done - self._told)
        self._told = done

    def done(self) -> None:
        """Show the object as done."""
        self.tell(self._size)


def check(stop: Event) -> None:
    """End the transfer if it is to stop.

    Raises:
        Unavailable: It is.
    """
    if stop.is_set():
        raise Unavailable("the transfer", "was stopped")
