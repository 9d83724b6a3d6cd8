"""SQL: what the engines say in different words, side by side.

A statement is written once, with these; how it is said is decided when it is sent. On SQLite
`lower` and ``LIKE`` know the capitals of ASCII only, so the rest is as exact on PostgreSQL: text is
compared there by its bytes (``COLLATE "C"``), in whatever language the database is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

__all__ = [
    "POSTGRESQL",
    "SQLITE",
    "Columns",
    "Expression",
    "Text",
    "Whole",
    "among",
    "among_given",
    "each_of",
    "exists",
    "function",
    "insert",
    "insert_many",
    "like",
    "lower",
    "position",
    "put",
    "size",
]

SQLITE, POSTGRESQL = "sqlite", "postgresql"
Expression: TypeAlias = sa.ColumnElement[Any]
"""A column, or what is computed of some, of whatever type."""
Columns = dict[str, Any]
"""A row, by the names of its columns."""
Text = sa.String().with_variant(sa.String(collation="C"), POSTGRESQL)
"""Text, ordered by its characters' numbers."""
Whole = sa.Integer().with_variant(sa.BigInteger(), POSTGRESQL)
"""A whole number of up to 64 bits with its sign."""


def insert(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An insert that can say what happens to rows that are there (``ON CONFLICT``)."""
    # Imported here: a search needs neither, and PostgreSQL's takes a tenth of the time of one.
    dialect = import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
    statement: sqlite.Insert | postgresql.Insert = dialect.Insert(table)
    return statement


def put(
    connection: sa.Connection,
    table: sa.Table,
    rows: list[Columns],
    changed: Iterable[str],
    *,
    newer: str | None = None,
) -> None:
    """Insert rows. Of one whose primary key is there, take the ``changed`` columns, but only where
    the column ``newer`` is larger than there.
    """
    statement = insert(connection, table)
    new = statement.excluded
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(table.primary_key.columns),
            set_={key: new[key] for key in changed},
            where=None if newer is None else new[newer] > table.c[newer],
        ),
        rows,
    )


def insert_many(connection: sa.Connection, table: sa.Table, rows: Sequence[Columns]) -> None:
    """Insert rows that have all columns, and may have more.

    Column by column: SQLAlchemy, row by row, takes longer to prepare them than SQLite to insert.
    """
    if not rows:
        return
    dialect, names = connection.dialect, table.columns.keys()
    kinds = [each.type.dialect_impl(dialect).bind_processor(dialect) for each in table.columns]
    values = zip(*map(itemgetter(*names), rows), strict=True)
    sent = [map(kind, each) if kind else each for kind, each in zip(kinds, values, strict=True)]
    marks = ", ".join(["?" if dialect.name == SQLITE else "%s"] * len(names))
    statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - names of ours
    connection.exec_driver_sql(statement, list(zip(*sent, strict=True)))


def function(kind: TypeEngine[Any], in_sqlite: str, in_postgresql: str) -> Callable[..., Any]:
    """A function of SQL as each engine says it, with ``{}`` for what it is given."""

    class EngineFunction(FunctionElement[Any]):
        inherit_cache = True
        type = kind

        def self_group(self, against: object = None) -> Any:  # noqa: ARG002 - as the base has it
            # Compared with 1, as SQLAlchemy would have a test on SQLite, no index would be used.
            return self

    for dialect, template in ((SQLITE, in_sqlite), (POSTGRESQL, in_postgresql)):
        compiles(EngineFunction, dialect)(partial(_say, template))
    return EngineFunction


def _say(
    template: str, element: FunctionElement[Any], compiler: SQLCompiler, **options: Any
) -> str:
    return template.format(*(compiler.process(part, **options) for part in element.clauses))


lower: Callable[[Expression | str], sa.ColumnElement[str]] = function(
    sa.String(), "lower({})", 'lower({} COLLATE "C")'
)
"""A text without capitals of ASCII."""
position: Callable[[Expression, str], sa.ColumnElement[int]] = function(
    sa.Integer(), "instr({}, {})", "strpos({}, {})"
)
"""Where in a text a part begins, from 1; 0 if it is not there."""
size: Callable[[Expression], sa.ColumnElement[int]] = function(
    sa.Integer(), "length(CAST({} AS BLOB))", "octet_length({})"
)
"""How many bytes a text has."""
exists: Callable[[sa.ScalarSelect[Any]], sa.ColumnElement[bool]] = function(
    sa.Boolean(), "EXISTS {}", "EXISTS (SELECT FROM {} AS found OFFSET 0)"
)
"""Whether rows are found; by an index, where PostgreSQL would first hash all rows of a table."""
_is_among: Callable[..., sa.ColumnElement[bool]] = function(
    sa.Boolean(), "{} IN (SELECT value FROM json_each({}))", "{} = ANY({})"
)
_each: Callable[[Expression], FunctionElement[Any]] = function(
    sa.String(), "json_each({})", "json_array_elements_text({})"
)


class _Json(sa.TypeDecorator[list[object]]):
    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: list[object] | None, _: sa.Dialect) -> str:
        return json.dumps(value)


# As one parameter: an engine takes only so many.
NUMBERS, TEXTS = (
    sa.ARRAY(kind).with_variant(_Json(), SQLITE) for kind in (sa.BigInteger, sa.String)
)


def among(column: Expression, values: Iterable[object]) -> sa.ColumnElement[bool]:
    """Whether a column has one of many values."""
    return _is_among(column, sa.bindparam(None, list(values), _many(column), unique=True))


def among_given(column: Expression, name: str) -> sa.ColumnElement[bool]:
    """Whether a column has one of the values that are the parameter ``name``, a list."""
    return _is_among(column, sa.bindparam(name, type_=_many(column)))


def _many(column: Expression) -> TypeEngine[Any]:
    return NUMBERS if isinstance(column.type, sa.Integer) else TEXTS


def each_of(listed: Expression) -> sa.TableValuedAlias:
    """The members of a list of texts as rows, ``value``; no rows where there is no list."""
    return _each(listed).table_valued(sa.column("value", sa.String))


def like(text: Expression, value: str) -> sa.ColumnElement[bool]:
    """Whether a text is ``value``, of which ``*`` is any characters; capitals do not count."""
    if "*" not in value:
        return lower(text) == lower(value)
    for special in ("\\", "%", "_"):
        value = value.replace(special, "\\" + special)
    return lower(text).like(lower(value.replace("*", "%")), escape="\\")
