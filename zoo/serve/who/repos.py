"""Repos: repositories that were made over HTTP, which may be empty, and names that others had."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, delete, insert, select, update

from zoo.reflog import now
from zoo.registry.engine import reading, writing
from zoo.registry.sql import put
from zoo.serve.who import schema
from zoo.serve.who.audit import record
from zoo.serve.who.downloads import forget_downloads, move_downloads

__all__ = ["Repos"]

TABLE = schema.repo
BEGUN = ""
"""In the place of a time."""


class Repos:
    """What is known of repositories beside the zoo's names."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def made(self, path: str) -> str | None:
        """When it was made; None if it was not, or was deleted or moved over HTTP since."""
        return self._noted(path) or None

    def begun(self, path: str) -> bool:
        """Whether one was begun to be made, and is not whole."""
        return self._noted(path) == BEGUN

    def _noted(self, path: str) -> str | None:
        with reading(self._engine) as connection:
            there = select(TABLE.c.made).where(TABLE.c.path == path, TABLE.c.moved.is_(None))
            return connection.scalar(there)

    def all(self) -> list[str]:
        """Those that were made, the newest first."""
        statement = select(TABLE.c.path).where(TABLE.c.moved.is_(None), TABLE.c.made != BEGUN)
        with reading(self._engine) as connection:
            return [*connection.scalars(statement.order_by(TABLE.c.made.desc(), TABLE.c.path))]

    def begin(self, path: str) -> None:
        """Note that one is being made of several names, until it is added."""
        with writing(self._engine) as connection:
            _put(connection, path, created=BEGUN)

    def end(self, path: str) -> None:
        """Take back that one was begun."""
        begun = (TABLE.c.path == path) & (TABLE.c.made == BEGUN)
        with writing(self._engine) as connection:
            connection.execute(delete(TABLE).where(begun))

    def add(self, path: str, emptied: str = "") -> None:
        """Make one, after that of its name was ``emptied``, by whichever clock."""
        with writing(self._engine) as connection:
            _put(connection, path, created=max(now(), emptied))
            forget_downloads(connection, path)  # those of another one that was called so
            record(connection, "repository made", path)

    def remove(self, path: str) -> None:
        """Delete one, and what leads to it. What was said of it stays: it can be restored."""
        with writing(self._engine) as connection:
            connection.execute(
                delete(TABLE).where((TABLE.c.path == path) | (TABLE.c.moved == path))
            )
            forget_downloads(connection, path)
            record(connection, "repository deleted", path)

    def copy_rules(self, old: str, new: str) -> None:
        """Say of a new name what was said of the old one, of which it stays true."""
        with writing(self._engine) as connection:
            for table in (schema.level, schema.role):
                connection.execute(delete(table).where(table.c.path == new))
                rows = connection.execute(select(table).where(table.c.path == old)).mappings()
                if copies := [{**row, "path": new} for row in rows]:
                    connection.execute(insert(table), copies)
            record(connection, "rules copied", new, f"from {old}")

    def move(self, old: str, new: str) -> None:
        """Note that one has another name, to which the old one leads, and those before."""
        with writing(self._engine) as connection:
            connection.execute(update(TABLE).where(TABLE.c.moved == old).values(moved=new))
            _put(connection, new)
            _put(connection, old, moved=new)
            move_downloads(connection, old, new)
            record(connection, "repository moved", old, f"to {new}")

    def leave(self, path: str) -> None:
        """Have a name lead nowhere any more."""
        with writing(self._engine) as connection:
            left = (TABLE.c.path == path) & TABLE.c.moved.is_not(None)
            connection.execute(delete(TABLE).where(left))

    def moved(self, path: str) -> str | None:
        """The name that it has now, if it had this one before."""
        with reading(self._engine) as connection:
            return connection.scalar(select(TABLE.c.moved).where(TABLE.c.path == path))


def _put(
    connection: Connection, path: str, moved: str | None = None, created: str | None = None
) -> None:
    row = {"path": path, "made": now() if created is None else created, "moved": moved}
    put(connection, TABLE, [row], ["made", "moved"])
