"""Turns: so many ask a service at once, some wait for one, and all others are refused at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from zoo.errors import Unavailable

__all__ = ["Turns"]

WAITING, SECONDS = 8, 5.0
"""So many wait, each for so long: a server answers others meanwhile, with the threads left."""


class Turns:
    """At most ``most`` turns at once to ask the service at a ``url``."""

    def __init__(self, url: str, most: int) -> None:
        self._url = url
        self._line, self._turns = BoundedSemaphore(most + WAITING), BoundedSemaphore(most)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """A turn, once there is one.

        Raises:
            Unavailable: There is none for long, or too many wait.
        """
        with self._held(self._line, 0.0), self._held(self._turns, SECONDS):
            yield

    @contextmanager
    def _held(self, places: BoundedSemaphore, seconds: float) -> Iterator[None]:
        if not places.acquire(timeout=seconds):
            raise Unavailable(self._url, "too many wait for its answer", hint="")
        try:
            yield
        finally:
            places.release()
