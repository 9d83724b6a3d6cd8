"""Locks: what one process alone does at a time, of all machines that share a database on a server.

They are the database's own advisory locks, which go with whoever holds them. Where the database is
a file there is one machine, and the locks of its file system do (`zoo.serve.keep.alone`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from zoo.errors import Unavailable
from zoo.registry.engine import shown
from zoo.registry.sql import SQLITE

__all__ = ["Locks"]

LOG = logging.getLogger("zoo.serve")
ONE = text("SELECT pg_advisory_xact_lock(hashtext('zoo serve'), hashtext(:what))")
LEAD = text("SELECT pg_try_advisory_lock(hashtext('zoo serve'), hashtext('lead'))")
ALIVE = text("SELECT 1")
FREE = text("SELECT pg_advisory_unlock_all()")
SHORT = (
    "SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
)
"""A machine that is gone without a word holds its locks for half a minute."""
SPARE = 4
"""Connections that wait for the next lock."""


class Locks:
    """The locks in a database."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._shared = engine, engine.dialect.name != SQLITE
        self._spare: list[Connection] = []
        self._leading, self._lead, self._closed = Lock(), False, False
        self._leader: Connection | None = None

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Wait until nobody else is in here with the same text.

        Raises:
            Unavailable: Somebody is for long, or the database does not answer.
        """
        if not self._shared:
            yield
            return
        connection = self._entered(what)
        try:
            yield
        finally:
            self._left(connection)

    def _entered(self, what: str) -> Connection:
        """A connection that holds a lock, none of the pool's: many may wait at once."""
        while True:
            connection, used = self._taken()
            try:
                connection.execute(ONE, {"what": what})
            except DBAPIError as error:
                _close(connection)
                if not (used and error.connection_invalidated):  # its server was started anew
                    raise Unavailable(shown(self._engine), "gives no lock now") from error
            else:
                return connection

    def _taken(self) -> tuple[Connection, bool]:
        """A connection, and whether it was used before."""
        with suppress(IndexError):
            return self._spare.pop(), True
        return self._connected(), False

    def _left(self, connection: Connection) -> None:
        try:
            connection.rollback()
        except DBAPIError as error:  # what was done under it is done
            LOG.warning("a lock was lost: %s", error)
            _close(connection)
            return
        if len(self._spare) < SPARE:
            self._spare.append(connection)
        else:
            _close(connection)

    def leads(self) -> bool:
        """Whether this process is the one that does what is done once for all machines. It stays so
        until it ends, or loses the database.
        """
        if not self._shared:
            return True
        with self._leading:
            if self._closed:
                return False
            try:
                if self._leader is None:
                    self._leader = self._connected()
                    self._leader.exec_driver_sql(SHORT)
                    self._leader.commit()
                    self._lead = False
                self._lead = bool(self._leader.execute(ALIVE if self._lead else LEAD).scalar())
                self._leader.commit()
            except (DBAPIError, Unavailable) as error:
                LOG.warning("it is not known who does what is to be done once: %s", error)
                if self._leader:
                    _close(self._leader)
                self._leader, self._lead = None, False
            return self._lead

    def _connected(self) -> Connection:
        try:
            connection = self._engine.connect()
        except DBAPIError as error:
            raise Unavailable(shown(self._engine), "does not answer") from error
        connection.detach()
        return connection

    def close(self) -> None:
        """Let go of all."""
        with self._leading:
            self._closed = True
            if self._leader:
                with suppress(
                    DBAPIError
                ):  # a server frees what a closed connection held, but later
                    self._leader.execute(FREE)
            for connection in [*self._spare, *([self._leader] if self._leader else [])]:
                _close(connection)
            self._spare.clear()
            self._leader = None


def _close(connection: Connection) -> None:
    with suppress(DBAPIError):
        connection.close()
