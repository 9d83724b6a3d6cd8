"""Cache: what was read of a database, for as long as it stays as it is.

Who asks is looked up on each request, and hardly ever changes. SQLite tells a connection whether
another one has committed anything since, in a hundredth of the time of a look-up. PostgreSQL does
not; there all is read each time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Hashable
from contextlib import suppress
from threading import Lock
from typing import Generic, TypeVar

from sqlalchemy import Engine
from sqlalchemy.pool import PoolProxiedConnection

from zoo.registry.sql import SQLITE

__all__ = ["ReadCache"]

ROOM = 4096
T = TypeVar("T")


class ReadCache(Generic[T]):
    """What was read of a database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        self._watching: PoolProxiedConnection | None = None
        self._changes: int | None = None
        self._values: dict[Hashable, T] = {}

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """What ``read`` returned for a key, or returns now if anything was written since."""
        with self._lock:
            changes = self._count()
            if changes != self._changes:
                self._changes, self._values = changes, {}
            elif (found := self._values.get(key)) is not None:
                return found
        value = read()
        with self._lock:
            # Read after it was counted: at worst it is newer, and read once more.
            if changes is not None and changes == self._changes:
                if len(self._values) >= ROOM:
                    self._values.clear()
                self._values[key] = value
        return value

    def _count(self) -> int | None:
        """A number that is another one after each commit; None if that is not known."""
        if self._engine.dialect.name != SQLITE:
            return None
        with suppress(sqlite3.Error):  # who reads is told of it
            # One that never writes: of its own changes a connection is told nothing.
            if self._watching is None:
                self._watching = self._engine.raw_connection()
                self._watching.detach()  # it takes nobody's turn
            cursor = self._watching.cursor()
            cursor.execute("PRAGMA data_version")
            ((changes,),) = cursor.fetchall()
            return int(changes)
        return None

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            if self._watching:
                self._watching.close()
            self._watching = None
