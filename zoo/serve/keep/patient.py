"""Patient: who writes to a store waits for a prune to end, rather than to send somebody away."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from zoo.errors import Conflict
from zoo.store import Store
from zoo.store.turn import is_turn_asked_for

__all__ = ["patient_upload"]

SECONDS = 20.0
"""So long is waited: clients wait longer for the answer to a commit."""
LONGEST = 0.2
"""Seconds until it is looked again."""


@contextmanager
def patient_upload(store: Store) -> Iterator[None]:
    """Announce an upload, once no prune is under way.

    Raises:
        Conflict: One is for long.
    """
    until = time.monotonic() + SECONDS
    with ExitStack() as stack:
        while is_turn_asked_for(store) and time.monotonic() < until:
            _pause()
        while True:
            try:
                stack.enter_context(store.upload())
                break
            except Conflict:
                if time.monotonic() >= until:
                    raise
            _pause()
        yield


def _pause() -> None:
    time.sleep(random.uniform(0, LONGEST))  # noqa: S311 - so that not all come back at once
