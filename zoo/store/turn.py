"""Turn: who prunes and who writes wait for each other. A prune asks writers that can wait for its
turn: where some write all the time, there would never be a moment without one.

It is a courtesy alone: what keeps the two apart are their signs (`zoo.store.uploads`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

from zoo.domain.progress import Progress, silent
from zoo.errors import Conflict, Unavailable, Unsupported
from zoo.store.capabilities import is_served, touch
from zoo.store.disk import STAGING
from zoo.store.folder import FolderBackend
from zoo.store.store import Store

__all__ = ["asking_for_turn", "in_turn", "is_turn_asked_for", "patient_upload"]

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds that a prune waits for a moment in which nobody writes."""
UPLOAD_PATIENCE = 20.0
"""Seconds that a writer waits for a prune to end: clients of a server wait longer for the answer to
a commit.
"""
LONGEST, AFAR = 0.2, 1.0
"""Seconds until it is looked again, in a folder and elsewhere, where looking costs a request."""
FILE = f"{STAGING}/turn"
SECONDS = 60.0
"""So long it counts, whatever became of who asked."""


@contextmanager
def asking_for_turn(store: Store) -> Iterator[None]:
    """Have writers that can wait begin nothing, also those on other machines. Of two that ask at
    once, the first that ends takes back what both asked for.
    """
    touch(store.backend, FILE)
    try:
        yield
    finally:
        with suppress(Unavailable, Unsupported):  # it stays, and counts for a minute
            store.backend.delete(FILE)


def in_turn(store: Store, prune: Callable[[], T], progress: Progress) -> T:
    """What a prune gives, once nobody writes; ``progress`` learns for whom it waits.

    Raises:
        Conflict: Somebody does for long.
    """
    with asking_for_turn(store):
        return _once_free(store, prune, time.monotonic() + PATIENCE, progress)


@contextmanager
def patient_upload(store: Store) -> Iterator[None]:
    """Announce an upload, once no prune is under way, and none asks for its turn.

    Raises:
        Conflict: One is for long.
    """
    until = time.monotonic() + UPLOAD_PATIENCE
    while is_turn_asked_for(store) and time.monotonic() < until:
        _pause(store)
    with ExitStack() as stack:
        _once_free(store, lambda: stack.enter_context(store.upload()), until, silent)
        yield


def _once_free(store: Store, work: Callable[[], T], until: float, progress: Progress) -> T:
    """What some work gives, once nobody is in its way.

    Raises:
        Conflict: Somebody still is at the time ``until``.
    """
    waits = False
    while True:
        try:
            return work()
        except Conflict as error:
            if time.monotonic() >= until:
                raise
            if not waits:
                progress.say(f"waiting: {str(error).splitlines()[0]}")
            waits = True
        _pause(store)


def _pause(store: Store) -> None:
    """Wait a little, not as long as others do: else all would come back at once."""
    longest = LONGEST if isinstance(store.backend, FolderBackend) else AFAR
    time.sleep(random.uniform(0, longest))  # noqa: S311


def is_turn_asked_for(store: Store) -> bool:
    """Whether a writer should wait: it is not within an upload that a prune waits for, and no
    server does that for it.
    """
    if store.is_uploading or is_served(store.backend):
        return False
    file = store.backend.stat(FILE)
    return file is not None and abs((store.now() - file.at).total_seconds()) < SECONDS
