"""Alone: one at a time, of all threads and processes of this machine that serve a zoo."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock
from weakref import WeakValueDictionary

from zoo.store.disk import Disk

__all__ = ["alone_in"]

LOCKS: WeakValueDictionary[str, Lock] = WeakValueDictionary()
"""Of folders, for the threads of this process: there are file systems without locks."""
LOCKS_LOCK = Lock()


@contextmanager
def alone_in(disk: Disk, folder: str) -> Iterator[None]:
    """Wait until nobody else is in here with the same folder, which need not be there."""
    with LOCKS_LOCK:
        lock = LOCKS.setdefault(str(disk.root / folder), Lock())
    with lock, ExitStack() as stack:
        with suppress(OSError):
            fcntl.flock(stack.enter_context(disk.folder(folder)), fcntl.LOCK_EX)
        yield
