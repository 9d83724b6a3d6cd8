"""Engine: transactions on the database, and what its failures mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from zoo.errors import Invalid
from zoo.registry.engines import ENGINES

__all__ = ["open_engine", "reading", "shown", "writing", "writing_after"]

WRITE = "zoo_write"


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
