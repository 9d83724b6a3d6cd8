"""Engine: transactions on the database file, and what its failures mean.

The driver's own transaction handling is off: it commits behind our back around DDL. We emit BEGIN
ourselves, so that a migration rolls back whole (SQLAlchemy, "Serializable isolation / Savepoints /
Transactional DDL" of the SQLite dialect).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from zoo.errors import Corrupt, DiskFull, Invalid, Unavailable, ZooError

__all__ = ["open_engine", "reading", "writing", "writing_after"]

BUSY_SECONDS = 60
WRITE = "zoo_write"
CACHE_KIB = 64 * 1024
"""At most; a small database takes less."""
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


def open_engine(url: URL) -> Engine:
    """An engine on an SQLite database; nothing is opened before the first transaction."""
    # The driver's timeout is SQLite's busy_timeout.
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one state of the database and never waits for writers.

    Raises:
        Corrupt: The file is damaged, or no database.
        Unavailable: The file cannot be read.
        Invalid: A value cannot be stored or looked for.
    """
    with _translated(engine), engine.begin() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that holds the write lock from its start; writers queue for it.

    Taking the lock only at the first write would fail at once, without waiting, if somebody wrote
    since the transaction began.

    Raises:
        Corrupt: The file is damaged, or no database.
        Unavailable: The file cannot be written.
        DiskFull: No space; nothing was changed.
        Invalid: A value cannot be stored.
    """
    with _translated(engine), engine.execution_options(**{WRITE: True}).begin() as connection:
        yield connection


@contextmanager
def writing_after(
    engine: Engine, prepare: Callable[[Connection], None], undo: Callable[[Connection], None]
) -> Iterator[Connection]:
    """As `writing`, after ``prepare`` has made temporary tables in a transaction of its own.

    It may take its time: nothing is locked. ``undo`` removes the tables in the end.

    Raises:
        Corrupt, Unavailable, DiskFull, Invalid: As for `writing`.
    """
    with _translated(engine), engine.connect() as connection:
        try:
            with connection.begin():
                prepare(connection)
            connection.execution_options(**{WRITE: True})
            with connection.begin():
                yield connection
        finally:
            connection.execution_options(**{WRITE: False})
            with connection.begin():
                undo(connection)


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")


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


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get(WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    where = engine.url.database or ""
    try:
        yield
    except DBAPIError as error:
        if meaning := _meaning(error, where):
            raise meaning from error
        raise
    except UnicodeEncodeError as error:
        raise Invalid(f"{error.object!r} is not valid Unicode") from error
    except OverflowError as error:
        raise Invalid("a number is too large to be stored") from error


def _meaning(error: DBAPIError, where: str) -> ZooError | None:
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
