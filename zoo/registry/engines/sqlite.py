"""SQLite: a file in the zoo.

The driver's own transaction handling is off: it commits behind our back around DDL. We emit BEGIN
ourselves, so that a migration rolls back whole (SQLAlchemy, "Serializable isolation / Savepoints /
Transactional DDL" of the SQLite dialect).
"""

from __future__ import annotations

import sqlite3
import time

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from zoo.errors import Corrupt, DiskFull, Unavailable, ZooError

__all__ = ["begin", "create", "meaning", "shown"]

BUSY_SECONDS = 60
CACHE_KIB = 64 * 1024
"""At most; a small database takes less."""
MAPPED_BYTES = 2**31 - 1
"""As much of the file as is read without copying; SQLite maps no more. It takes care of its own
processes; whoever else truncates the file under a running program ends that."""
PAUSE_SECONDS = 0.01
DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
UNUSABLE = {
    sqlite3.SQLITE_PERM: "no permission",
    sqlite3.SQLITE_BUSY: f"another process has kept it locked for {BUSY_SECONDS} seconds",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_IOERR: "input/output error",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_NOLFS: "the file system does not take files of this size",
}


def create(url: URL) -> Engine:
    """An engine on a file."""
    # The driver's timeout is SQLite's busy_timeout.
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _configure)
    return engine


def begin(connection: Connection, *, write: bool) -> None:
    """Begin; a writer takes the lock now.

    Taking it only at the first write would fail at once, without waiting, if somebody wrote since
    the transaction began.
    """
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def meaning(error: DBAPIError, where: str) -> ZooError | None:
    """What a failure means; None if it is a mistake of ours."""
    # The low byte is the kind of the failure, the rest a detail of it.
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    if code in DAMAGED:
        return Corrupt(where, "an SQLite database", str(error.orig))
    full = getattr(error.orig, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_WRITE
    if code == sqlite3.SQLITE_FULL or full:  # a quota or a size limit shows as a failed write
        return DiskFull(where)
    if code in UNUSABLE:
        return Unavailable(where, UNUSABLE[code])
    return None


def shown(url: URL) -> str:
    """The file's path."""
    return url.database or ""


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    connection.execute(f"PRAGMA mmap_size={MAPPED_BYTES}")


def _use_wal(connection: sqlite3.Connection) -> None:
    # While a file changes its journal mode, SQLite answers "locked" at once and ignores the busy
    # timeout: processes that create one database together would fail without this loop.
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(PAUSE_SECONDS)
        else:
            return
