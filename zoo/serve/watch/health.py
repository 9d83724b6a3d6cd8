"""Health: whether a server can do its work now."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from threading import Lock

from zoo.domain.limits import SPARE_BYTES
from zoo.errors import Corrupt, DiskFull, Unavailable, ZooError
from zoo.store import Store
from zoo.store.capabilities import folders
from zoo.store.refs import MARKER

__all__ = ["Health"]

LOG = logging.getLogger("zoo.serve")
SECONDS = 5.0
"""So long it is as it was: whoever asks all the time writes nothing all the time."""
BYTES = 32


class Health:
    """Whether the store can be read and written, the database answers, and there is room."""

    def __init__(self, store: Store, database: Callable[[], object]) -> None:
        self._checks: Mapping[str, Callable[[], object]] = {
            "store": lambda: _try_store(store),
            "database": database,
            "space": lambda: _check_space(store),
        }
        self._lock, self._at = Lock(), -SECONDS
        self._found: Mapping[str, bool] = {}

    def look(self) -> Mapping[str, bool]:
        """What is well, and what is not; the log has why."""
        with self._lock:
            if time.monotonic() - self._at >= SECONDS:
                self._found = {name: _is_well(name, check) for name, check in self._checks.items()}
                self._at = time.monotonic()
            return self._found


def _is_well(name: str, check: Callable[[], object]) -> bool:
    try:
        check()
    except (ZooError, OSError) as error:
        LOG.error("not ready, %s: %s", name, error)
        return False
    return True


def _try_store(store: Store) -> None:
    """Write a few bytes and read them again, and list names."""
    data, disk = os.urandom(BYTES), store.disk
    with disk.staged() as (file, name):
        file.write(data)
        disk.fsync_file(file)
        if (read_back := disk.read(name, BYTES)) != data:
            raise Corrupt(name, data.hex(), read_back.hex())
    folders(store.backend, "refs/")
    if not store.backend.stat(MARKER):
        raise Unavailable(str(store), "is no store any more")


def _check_space(store: Store) -> None:
    if shutil.disk_usage(store.root).free < SPARE_BYTES:
        raise DiskFull(store.root)
