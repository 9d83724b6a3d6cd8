"""Later: what takes long is begun for one page, and shown by the next that asks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Lock, Thread

__all__ = ["Later"]

LOG = logging.getLogger("zoo.serve")


class Later:
    """Does one thing at a time beside answering; what is asked for meanwhile is not begun."""

    def __init__(self) -> None:
        self._busy = Lock()

    def begin(self, works: Sequence[Callable[[], object]], patience: float = 0.0) -> bool:
        """Begin to do these one after the other, unless something is still being done after
        ``patience`` seconds; whether it was begun.
        """
        begun = bool(works) and self._busy.acquire(timeout=patience)
        if begun:
            Thread(target=self._do, args=(works,), name="pages", daemon=True).start()
        return begun

    def _do(self, works: Sequence[Callable[[], object]]) -> None:
        try:
            for work in works:
                try:
                    work()
                except Exception:  # the others are worth doing all the same
                    LOG.exception("what a page asked for failed")
        finally:
            self._busy.release()
