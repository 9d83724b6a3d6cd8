"""SQLite: a file in the zoo.

The driver's own transaction handling is off: it commits behind our back around DDL. We emit BEGIN
ourselves, so that a migration rolls back whole (SQLAlchemy, "Serializable isolation / Savepoints /
Transactional DDL" of the SQLite dialect).
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from contextlib import suppress
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from urllib.parse import quote

import msgspec
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from zoo.errors import Corrupt, DiskFull, Unavailable, ZooError

__all__ = ["begin", "create", "create_read_only", "meaning", "shown", "sides", "url_of"]

BUSY_SECONDS = 60
CACHE_KIB = 64 * 1024
"""At most; a small database takes less."""
MAPPED_BYTES = 2**31 - 1
"""As much of the file as is read without copying; SQLite maps no more. It takes care of its own
processes; whoever else truncates the file under a running program ends that."""
PAUSE_SECONDS = 0.01
DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
NOT_TEXT = "Could not decode to UTF-8"
"""What the driver says of a text that is none; it gives no code with that."""
MAYBE_FULL = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
TRIED_BYTES = 64 * 1024
"""So much room SQLite needs beside a database to open it, with some to spare."""
UNUSABLE = {
    sqlite3.SQLITE_PERM: "no permission",
    sqlite3.SQLITE_BUSY: f"someone else held the lock for {BUSY_SECONDS} seconds",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_IOERR: "input/output error",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_NOLFS: "the file system does not take files of this size",
}


def url_of(path: Path, *, existing: bool = False) -> URL:
    """The URL of a file, which ``existing`` says is there: none is made in its place."""
    return URL.create("sqlite", database=str(path), query={"mode": "rw"} if existing else {})


def create(url: URL) -> Engine:
    """An engine on a file."""
    path, mode = Path(url.database or ""), url.query.get("mode", "rwc")

    def connect() -> sqlite3.Connection:
        try:
            return _connect(path, f"mode={mode}")
        except sqlite3.OperationalError as error:
            if mode == "rw" and not path.exists():  # somebody took it away just now
                raise Corrupt(str(path), "an SQLite database", "no file") from error
            raise

    engine = create_engine(url.set(query={}), creator=connect, json_serializer=_to_json)
    event.listen(engine, "connect", _configure)
    return engine


def _to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


class _Closing(sqlite3.Connection):
    """Closed when nobody has it any more: a zoo that was opened in a notebook and forgotten is no
    reason for a `ResourceWarning`, which Python 3.13 gives.
    """

    def __del__(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # it was never open
            self.close()


def _connect(path: Path, how: str) -> sqlite3.Connection:
    # The driver's timeout is SQLite's busy_timeout.
    return sqlite3.connect(
        f"file:{quote(str(path))}?{how}",
        uri=True,
        timeout=BUSY_SECONDS,
        check_same_thread=False,
        factory=_Closing,
    )


def create_read_only(path: Path) -> Engine:
    """An engine on a file that is only read, and beside which nothing is made.

    Each transaction has a connection of its own, as how the file can be read changes with what
    lies beside it.
    """

    def connect() -> sqlite3.Connection:
        connection = _connect(path, _read_only(path))
        connection.isolation_level = None
        return connection

    return create_engine(
        URL.create("sqlite", database=str(path)), creator=connect, poolclass=NullPool
    )


def _read_only(path: Path) -> str:
    log, shared = sides(path)
    # Without a log, all is in the file. SQLite would yet make the two files that belong to one,
    # in our name, and who owns the database could then not write it any more.
    logged = log.exists() and log.stat().st_size > 0
    return "mode=ro&readonly_shm=1" if logged and shared.exists() else "immutable=1"


def sides(path: Path) -> tuple[Path, Path]:
    """The files that SQLite keeps beside a database while it is open: the log, and its index."""
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def begin(connection: Connection, *, write: bool) -> None:
    """Begin; a writer takes the lock now.

    Taking it only at the first write would fail at once, without waiting, if somebody wrote since
    the transaction began.
    """
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def meaning(error: DBAPIError, where: str) -> ZooError | None:
    """What a failure means; None if it is a mistake of ours."""
    # The low byte is the kind of the failure, the rest a detail of it.
    detailed = getattr(error.orig, "sqlite_errorcode", 0)
    code = detailed & 0xFF
    if code in DAMAGED or NOT_TEXT in str(error.orig):
        return Corrupt(where, "an SQLite database", str(error.orig))
    if code == sqlite3.SQLITE_FULL or detailed == sqlite3.SQLITE_IOERR_WRITE:
        return DiskFull(where)  # a quota or a size limit shows as a failed write
    if code in MAYBE_FULL and _is_full(Path(where).parent):
        return DiskFull(where)
    if code in UNUSABLE:
        return Unavailable(where, UNUSABLE[code])
    return None


def _is_full(folder: Path) -> bool:
    """Whether there is no room in a folder: SQLite has a dozen errors for that, and says so of few.

    It is tried, as a quota shows nowhere else.
    """
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(TRIED_BYTES))
            return file.tell() < TRIED_BYTES
    except OSError as error:
        return error.errno in (ENOSPC, EDQUOT, EFBIG)


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
