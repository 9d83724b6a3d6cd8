"""Tries: each try to sign in has a provider asked once, whatever comes of that."""

from __future__ import annotations

import time
from collections import OrderedDict
from threading import Lock

__all__ = ["Tries"]

MOST = 10_000
"""So many are remembered: of more, the oldest are forgotten."""


class Tries:
    """The tries that were spent, of a process. What makes a token is spent once by all of them
    (`zoo.serve.who.spent`); this is kept of strangers, too, and fills no table.
    """

    def __init__(self) -> None:
        self._spent: OrderedDict[str, float] = OrderedDict()
        self._lock = Lock()

    def spend(self, entry: str, expires: float) -> bool:
        """Spend a try that ``expires``, in seconds since 1970; whether it was not spent before."""
        with self._lock:
            if entry in self._spent:
                return False
            now, spent = time.time(), self._spent
            while spent and (len(spent) >= MOST or next(iter(spent.values())) < now):
                spent.popitem(last=False)
            spent[entry] = expires
        return True
