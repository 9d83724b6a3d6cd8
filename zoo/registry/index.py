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

__all__ = ["having", "holds", "of"]

NAME = "item_term"
INDEX = table(NAME, column("rowid"), column("terms"))


class _Index(Protocol):
    # What an engine's module has; it says there what each does.
    def create(self, connection: Connection) -> None: ...
    def add(self, connection: Connection, terms: Sequence[tuple[int, str]]) -> None: ...
    def remove(self, connection: Connection, terms: Sequence[tuple[int, str]]) -> None: ...
    def clear(self, connection: Connection) -> None: ...
    def in_bulk(self, connection: Connection, *, begin: bool) -> None: ...
    def expression(self, wanted: Wanted) -> str: ...
    def thinned(self, connection: Connection, wanted: Wanted) -> Wanted: ...


INDEXES: dict[str, _Index] = {SQLITE: fts5, POSTGRESQL: tsvector}


def of(connection: Connection) -> _Index:
    """The engine's own index of terms: `zoo.registry.fts5` or `zoo.registry.tsvector`."""
    return INDEXES[connection.dialect.name]


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
