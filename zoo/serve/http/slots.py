"""Slots: so many may send something at once, and of each token a share."""

from __future__ import annotations

from asyncio import Semaphore
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from anyio import fail_after

from zoo.serve.http.errors import Refused

__all__ = ["Slots"]

WAIT_SECONDS = 30
"""So long is waited for a slot."""
AGAIN = {"Retry-After": "5"}


class Slots:
    """``most`` slots, of which nobody takes more than ``share``."""

    def __init__(self, most: int, share: int) -> None:
        self._all, self._share = Semaphore(most), share
        self._own: WeakValueDictionary[str, Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def taken(self, who: str) -> AsyncIterator[None]:
        """A slot for somebody, once there is one.

        Raises:
            Refused: There is none for long.
        """
        own, held = self._own.setdefault(who, Semaphore(self._share)), []
        try:
            try:
                with fail_after(WAIT_SECONDS):
                    for each in (own, self._all):
                        await each.acquire()
                        held.append(each)
            except TimeoutError:
                raise Refused("Busy", "too much is being sent; try again", headers=AGAIN) from None
            yield
        finally:
            for each in held:
                each.release()
