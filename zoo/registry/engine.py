"""Engine: transactions on the database, and what its failures mean."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from threading import get_ident
from typing import Any

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from zoo.errors import Invalid
from zoo.registry.engines import ENGINES

__all__ = ["open_engine", "reading", "shown", "writing", "writing_after"]

WRITE = "zoo_write"
LENT = "zoo_lent"
"""The option with the driver's connections that are in use, each with the thread that has it."""


def open_engine(url: URL) -> Engine:
    """An engine on a database; nothing is opened before the first transaction.

    Raises:
        MissingPackage: The engine's driver is not installed.
    """
    kind = ENGINES[url.get_backend_name()]

    def begin(connection: Connection) -> None:
        kind.begin(connection, write=connection.get_execution_options().get(WRITE, False))

    engine = kind.create(url)
    event.listen(engine, "begin", begin)
    lent: dict[object, int] = {}
    engine.update_execution_options(**{LENT: lent})
    event.listen(engine, "checkout", lambda raw, *_: lent.update({raw: get_ident()}))
    for back in ("checkin", "detach", "close"):
        event.listen(engine, back, lambda raw, *_: lent.pop(raw, None))
    # SQLAlchemy closes one that was interrupted. While a cursor of it is left, SQLite goes on.
    event.listen(engine, "close", lambda raw, *_: _end(raw))
    return engine


def shown(engine: Engine) -> str:
    """Where the database is, without a secret."""
    return ENGINES[engine.dialect.name].shown(engine.url)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one state of the database and never waits for writers.

    Raises:
        Corrupt: The database is damaged, or the file is none.
        Unavailable: The database cannot be read.
        Invalid: A value cannot be stored or looked for.
    """
    with _translated(engine), engine.begin() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that holds the write lock from its start; writers queue for it.

    Raises:
        Corrupt: The database is damaged, or the file is none.
        Unavailable: The database cannot be written.
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


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    before = engine.get_execution_options().get(LENT, {}).copy()
    try:
        yield
    except DBAPIError as error:
        if meaning := ENGINES[engine.dialect.name].meaning(error, shown(engine)):
            raise meaning from error
        raise
    except UnicodeEncodeError as error:
        raise Invalid(f"{error.object!r} is not valid Unicode") from error
    except OverflowError as error:
        raise Invalid("a number is too large to be stored") from error
    finally:
        _roll_back(engine, before)


def _roll_back(engine: Engine, before: Collection[object]) -> None:
    """End the transactions of this thread that were begun since those connections were in use.

    An interrupt comes between any two instructions: also where SQLAlchemy has begun a transaction,
    and nothing would end it before the garbage collector. Whoever writes would wait for its lock.
    """
    lent = engine.get_execution_options().get(LENT, {}).copy()  # at once: other threads change it
    for raw, thread in lent.items():
        if thread == get_ident() and raw not in before:
            _end(raw)


def _end(raw: Any) -> None:
    """Roll back the transaction of a driver's connection, if there is one."""
    with suppress(Exception):  # whatever a driver has against it
        raw.rollback()
