"""Patient: who writes to a store waits for a prune to end, rather than to send somebody away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from zoo.store import Store
from zoo.store.turn import is_turn_asked_for, once_free, pause

__all__ = ["patient_upload"]

SECONDS = 20.0
"""So long is waited: clients wait longer for the answer to a commit."""


@contextmanager
def patient_upload(store: Store) -> Iterator[None]:
    """Announce an upload, once no prune is under way.

    Raises:
        Conflict: One is for long.
    """
    until = time.monotonic() + SECONDS
    while is_turn_asked_for(store) and time.monotonic() < until:
        pause()
    with ExitStack() as stack:
        once_free(lambda: stack.enter_context(store.upload()), until)
        yield
