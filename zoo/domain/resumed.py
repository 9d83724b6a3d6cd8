"""Resumed: the bytes of a file from a server whose connections end early."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

__all__ = ["Attempts", "after", "resumed"]


class Attempts(Protocol):
    """The tries at one file: whether and when there is a next one."""

    def delivered(self) -> None:
        """Note that bytes came: what fails from here on has not failed before."""

    def pause(self, error: Exception) -> None:
        """Wait before the next try, or raise where another one would not help."""


def resumed(
    body: Callable[[int], Iterator[bytes]],
    start: int,
    size: int,
    attempts: Attempts,
    failures: tuple[type[Exception], ...],
) -> Iterator[bytes]:
    """The bytes of a file of ``size`` bytes from ``start`` on.

    ``body`` asks for the file from a position on, and gives what comes, in pieces; ``attempts`` is
    asked what to do about ``failures``. Any other exception is raised.
    """
    passing: tuple[type[Exception], ...] = (*failures, EOFError)
    position = start
    while position < size:
        try:
            for piece in body(position):
                position += len(piece)
                attempts.delivered()
                yield piece
            if position < size:
                raise EOFError("closed early")
        except passing as error:
            attempts.pause(error)


def after(pieces: Iterable[bytes], skip: int) -> Iterator[bytes]:
    """What follows the first ``skip`` bytes: a server that knows no ranges begins with them."""
    for piece in pieces:
        if len(piece) > skip:
            yield piece[skip:]
        skip = max(0, skip - len(piece))
