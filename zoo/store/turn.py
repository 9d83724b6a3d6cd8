"""Turn: who prunes and who writes wait for each other. A prune asks writers that can wait for its
turn: where some write all the time, there would never be a moment without one.

It is a courtesy alone: what keeps the two apart are their signs (`zoo.store.uploads`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from zoo.errors import Conflict
from zoo.store.disk import STAGING
from zoo.store.store import Store

__all__ = ["asking_for_turn", "in_turn", "is_turn_asked_for", "once_free", "pause"]

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds that a prune waits for a moment in which nobody writes."""
LONGEST = 0.2
"""Seconds until it is looked again."""
FILE = f"{STAGING}/turn"
SECONDS = 60.0
"""So long it counts, whatever became of who asked."""


@contextmanager
def asking_for_turn(store: Store) -> Iterator[None]:
    """Have writers that can wait begin nothing."""
    store.disk.touch(FILE)
    try:
        yield
    finally:
        store.disk.remove(FILE)


def in_turn(store: Store, prune: Callable[[], T]) -> T:
    """What a prune gives, once nobody writes.

    Raises:
        Conflict: Somebody does for long.
    """
    with asking_for_turn(store):
        return once_free(prune, time.monotonic() + PATIENCE)


def once_free(work: Callable[[], T], until: float) -> T:
    """What some work gives, once nobody is in its way.

    Raises:
        Conflict: Somebody still is at the time ``until``.
    """
    while True:
        try:
            return work()
        except Conflict:
            if time.monotonic() >= until:
                raise
        pause()


def pause() -> None:
    """Wait a little, not as long as others do: else all would come back at once."""
    time.sleep(random.uniform(0, LONGEST))  # noqa: S311


def is_turn_asked_for(store: Store) -> bool:
    """Whether a writer should wait: it is not within an upload that a prune waits for."""
    if store.is_uploading:
        return False
    status = store.disk.stat(FILE)
    return status is not None and time.time() - status.st_mtime < SECONDS
