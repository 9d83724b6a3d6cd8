"""Pieces: bytes that can be taken more than once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

__all__ = ["Pieces"]


class Pieces:
    """Bytes in pieces, read or decoded anew each time that they are asked for."""

    def __init__(self, read: Callable[[], Iterable[bytes | memoryview]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[bytes | memoryview]:
        return iter(self._read())
