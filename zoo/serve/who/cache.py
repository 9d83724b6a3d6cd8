"""Cache: what was read of a database, for as long as it stays as it is.

Who asks is looked up on each request, and hardly ever changes. SQLite tells a connection whether
another one has committed anything since, in a hundredth of the time of a look-up. PostgreSQL tells
which transactions are seen now: while these are the same ones, so is all that is read. That takes
a round trip, so of requests that come at once one asks for those that wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import PoolProxiedConnection

from zoo.registry.sql import SQLITE

__all__ = ["ReadCache"]

ROOM = 4096
DATA_VERSION, SNAPSHOT = "PRAGMA data_version", "SELECT pg_current_snapshot()::text"
T = TypeVar("T")


class ReadCache(Generic[T]):
    """What was read of a database.

    Attributes:
        changed: Called where it is seen that something was written since.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.changed: Callable[[], None] = lambda: None
        self._lock = Lock()
        self._watching: PoolProxiedConnection | None = None
        self._changes: Hashable = None
        self._counted = -1
        self._values: dict[Hashable, T] = {}

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """What ``read`` returned for a key, or returns now if anything was written since."""
        asked = time.monotonic_ns()
        with self._lock:
            # What was counted while this waited tells of all that was written before it was asked.
            if self._counted < asked or self._changes is None:
                self._counted, changes = time.monotonic_ns(), self._count()
            else:
                changes = self._changes
            if changes != self._changes:
                self._changes, self._values = changes, {}
                self.changed()
            elif (cached := self._values.get(key)) is not None:
                return cached
        value = read()
        with self._lock:
            # Read after it was counted: at worst it is newer, and read once more.
            if changes is not None and changes == self._changes:
                if len(self._values) >= ROOM:
                    self._values.clear()
                self._values[key] = value
        return value

    def _count(self) -> Hashable:
        """What is another thing after each commit; None if that is not known."""
        is_file = self._engine.dialect.name == SQLITE
        try:
            # One that never writes: of its own changes a connection is told nothing.
            if self._watching is None:
                self._watching = self._engine.raw_connection()
                if not is_file:  # each look is a transaction of its own
                    self._watching.dbapi_connection.autocommit = True  # type: ignore[union-attr]
                self._watching.detach()  # it takes nobody's turn
            cursor = self._watching.cursor()
            cursor.execute(DATA_VERSION if is_file else SNAPSHOT)
            ((changes,),) = cursor.fetchall()
        except (DBAPIError, self._engine.dialect.loaded_dbapi.Error):  # who reads is told of it
            if self._watching and not is_file:  # its server may have been started anew
                # Past the pool, which would reset it, and tell at length that it cannot.
                self._watching.dbapi_connection.close()  # type: ignore[union-attr]
                self._watching = None
            return None
        return str(changes)

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            if self._watching:
                self._watching.close()
            self._watching = None
