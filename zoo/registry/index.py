"""The index of terms, in the words of the engine that keeps it: `fts5` or `tsvector`.

Both have one table, ``item_term``, and hold only which items have a term.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Select,
    String,
    TypeDecorator,
    bindparam,
    column,
    exists,
    select,
    table,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from zoo.registry import fts5, tsvector
from zoo.registry.sql import POSTGRESQL, SQLITE, Test
from zoo.registry.terms import Wanted

__all__ = ["add", "clear", "create", "having", "holds", "in_bulk", "remove", "thinned"]

NAME = "item_term"
INDEX = table(NAME, column("rowid"), column("terms"))


class Index(Protocol):
    """What an engine's module has."""

    def create(self, connection: Connection) -> None:
        """Make an empty index."""

    def add(self, connection: Connection, terms: Sequence[tuple[int, str]]) -> None:
        """Put items in: the id of each and what `terms_of` says."""

    def remove(self, connection: Connection, terms: Sequence[tuple[int, str]]) -> None:
        """Take items out, each with the terms that it was put in with."""

    def clear(self, connection: Connection) -> None:
        """Take everything out."""

    def in_bulk(self, connection: Connection, *, begin: bool) -> None:
        """Tell that very many items will be put in, or that they were."""

    def expression(self, wanted: Wanted) -> str:
        """What is wanted, in the engine's own words."""

    def thinned(self, connection: Connection, wanted: Wanted) -> Wanted:
        """Terms that are quicker to find, and that all have which have the wanted ones."""


INDEXES: dict[str, Index] = {SQLITE: fts5, POSTGRESQL: tsvector}


def create(connection: Connection) -> None:
    """Make an empty index."""
    INDEXES[connection.dialect.name].create(connection)


def add(connection: Connection, terms: Sequence[tuple[int, str]]) -> None:
    """Put items in: the id of each and what `terms_of` says."""
    INDEXES[connection.dialect.name].add(connection, terms)


def remove(connection: Connection, terms: Sequence[tuple[int, str]]) -> None:
    """Take items out, each with the terms that it was put in with."""
    INDEXES[connection.dialect.name].remove(connection, terms)


def clear(connection: Connection) -> None:
    """Take everything out."""
    INDEXES[connection.dialect.name].clear(connection)


def in_bulk(connection: Connection, *, begin: bool) -> None:
    """Tell that very many items will be put in, or that they were."""
    INDEXES[connection.dialect.name].in_bulk(connection, begin=begin)


def thinned(connection: Connection, wanted: Wanted) -> Wanted:
    """Terms that are quicker to find, and that all have which have the wanted ones."""
    return INDEXES[connection.dialect.name].thinned(connection, wanted)


def having(wanted: Wanted) -> Select[tuple[int]]:
    """The ids of the items that have the wanted terms."""
    return select(INDEX.c.rowid.label("id")).where(_match(wanted))


def holds(item: ColumnElement[int], wanted: Wanted) -> ColumnElement[bool]:
    """Whether the index has the wanted terms for one item."""
    return exists().where(_match(wanted), INDEX.c.rowid == item)


def _match(wanted: Wanted) -> ColumnElement[bool]:
    return _Match(INDEX.c.terms, bindparam(None, wanted, _Wanted, unique=True))


class _Wanted(TypeDecorator[Wanted]):
    impl = String
    cache_ok = True

    def process_bind_param(self, value: Wanted | None, dialect: Dialect) -> str:
        return INDEXES[dialect.name].expression(value or ())


class _Match(Test):
    inherit_cache = True


@compiles(_Match, SQLITE)
def _in_fts5(element: _Match, compiler: SQLCompiler, **options: Any) -> str:
    _, wanted = element.clauses
    return f"{NAME} MATCH {compiler.process(wanted, **options)}"


@compiles(_Match, POSTGRESQL)
def _in_tsvector(element: _Match, compiler: SQLCompiler, **options: Any) -> str:
    terms, wanted = (compiler.process(part, **options) for part in element.clauses)
    return f"{terms} @@ CAST({wanted} AS tsquery)"
