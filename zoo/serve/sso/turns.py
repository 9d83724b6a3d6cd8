"""Turns: so many ask a service at once, and some wait for one. Of more that come, those who have
waited longest go: strangers who fill the line keep nobody out who comes after them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition

from zoo.errors import Unavailable

__all__ = ["Turns"]

WAITING, SECONDS = 8, 5.0
"""So many wait, each for so long: a server answers others meanwhile, with the threads left."""


@dataclass(eq=False)
class _Place:
    """Where somebody from ``who`` stands; ``inside`` once it is their turn."""

    who: str
    inside: bool = False


class Turns:
    """At most ``most`` turns at once to ask the service at a ``url``. Those from one network have
    at most half of them, and half of the places to wait at.
    """

    def __init__(self, url: str, most: int) -> None:
        self._url, self._most = url, most
        self._changed = Condition()
        self._inside: list[str] = []
        self._line: list[_Place] = []

    @contextmanager
    def taken(self, who: str = "") -> Iterator[None]:
        """A turn, once there is one, for somebody from the network ``who``; empty: for nobody in
        particular, of whom there may be as many as there are turns.

        Raises:
            Unavailable: There is none for long, or too many came later.
        """
        self._wait(_Place(who))
        try:
            yield
        finally:
            with self._changed:
                self._inside.remove(who)
                self._admit()

    def _wait(self, place: _Place) -> None:
        with self._changed:
            self._line.append(place)
            self._admit()
            self._thin(place.who)
            self._changed.wait_for(lambda: place not in self._line, SECONDS)
            if place.inside:
                return
            if place in self._line:
                self._line.remove(place)
        raise Unavailable(self._url, "too many wait for its answer", hint="")

    def _admit(self) -> None:
        """Let in who waits, the longest first, as far as there are turns."""
        for place in [*self._line]:
            half = self._most // 2
            if len(self._inside) < self._most and not (
                place.who and self._inside.count(place.who) >= half
            ):
                self._line.remove(place)
                self._inside.append(place.who)
                place.inside = True
        self._changed.notify_all()

    def _thin(self, who: str) -> None:
        """Send those away who have waited longest where too many wait, first from one network."""
        own = [place for place in self._line if who and place.who == who]
        if len(own) > WAITING // 2:
            self._line.remove(own[0])
        if len(self._line) > WAITING:
            del self._line[0]
        self._changed.notify_all()
