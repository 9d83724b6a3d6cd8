"""SQL: what the engines say in different words, side by side.

A statement is written once, with these; how it is said is decided when it is sent. On SQLite
`lower` and ``LIKE`` know the capitals of ASCII only, so the rest is as exact on PostgreSQL: text is
compared there by its bytes (``COLLATE "C"``), in whatever language the database is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import column
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
    "Test",
    "Text",
    "Whole",
    "among",
    "among_given",
    "each_of",
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
    if connection.dialect.name == SQLITE:
        from sqlalchemy.dialects import sqlite

        return sqlite.Insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.Insert(table)


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


def among(column: Expression, values: Iterable[object]) -> sa.ColumnElement[bool]:
    """Whether a column has one of many values."""
    # As one parameter: an engine takes only so many.
    kind = sa.Integer if isinstance(column.type, sa.Integer) else sa.String
    return _Among(column, sa.bindparam(None, list(values), _Many(kind), unique=True))


def among_given(column: Expression, name: str) -> sa.ColumnElement[bool]:
    """Whether a column of text has one of the values that are the parameter ``name``, a list."""
    return _Among(column, sa.bindparam(name, type_=_Many(sa.String)))


def each_of(listed: Expression) -> sa.TableValuedAlias:
    """The members of a list of texts as rows, ``value``; no rows where there is no list."""
    return _Each(listed).table_valued(column("value", sa.String))


def like(text: Expression, value: str) -> sa.ColumnElement[bool]:
    """Whether a text is ``value``, of which ``*`` is any characters; capitals do not count."""
    if "*" not in value:
        return lower(text) == lower(_literal(value))
    for special in ("\\", "%", "_"):
        value = value.replace(special, "\\" + special)
    pattern = lower(_literal(value.replace("*", "%")))
    return lower(text).like(pattern, escape="\\")


def lower(text: Expression) -> sa.ColumnElement[str]:
    """A text without capitals of ASCII."""
    return _Lower(text)


def position(text: Expression, part: str) -> sa.ColumnElement[int]:
    """Where in a text a part begins, from 1; 0 if it is not there."""
    return _Position(text, _literal(part))


def size(text: Expression) -> sa.ColumnElement[int]:
    """How many bytes a text has."""
    return _Size(text)


def _literal(value: str) -> sa.ColumnElement[str]:
    return sa.bindparam(None, value, sa.String, unique=True)


class _Many(sa.TypeDecorator[list[object]]):
    """Many values as one parameter."""

    impl = sa.String
    cache_ok = True

    def __init__(self, kind: type[sa.Integer] | type[sa.String]) -> None:
        self.kind = kind
        super().__init__()

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        if dialect.name == SQLITE:
            return dialect.type_descriptor(sa.String())
        return dialect.type_descriptor(
            sa.ARRAY(sa.BigInteger if self.kind is sa.Integer else sa.String)
        )

    def process_bind_param(self, value: list[object] | None, dialect: sa.Dialect) -> object:
        return json.dumps(value) if dialect.name == SQLITE else value


class Test(FunctionElement[bool]):
    """What is true or false in itself."""

    inherit_cache = True
    type = sa.Boolean()

    def self_group(self, against: object = None) -> Any:  # noqa: ARG002 - as the base has it
        """As it is: compared with 1, as SQLAlchemy would on SQLite, no index would be used."""
        return self


class _Among(Test):
    inherit_cache = True


class _Each(FunctionElement[object]):
    inherit_cache = True


class _Lower(FunctionElement[str]):
    inherit_cache = True
    type = sa.String()


class _Position(FunctionElement[int]):
    inherit_cache = True
    type = sa.Integer()


class _Size(FunctionElement[int]):
    inherit_cache = True
    type = sa.Integer()


TEMPLATES: dict[type[FunctionElement[Any]], tuple[str, str]] = {
    _Among: ("{} IN (SELECT value FROM json_each({}))", "{} = ANY({})"),
    _Each: ("json_each({})", "json_array_elements_text({})"),
    _Lower: ("lower({})", 'lower({} COLLATE "C")'),
    _Position: ("instr({}, {})", "strpos({}, {})"),
    _Size: ("length(CAST({} AS BLOB))", "octet_length({})"),
}
"""How SQLite says it, and PostgreSQL."""


def _say(template: str) -> Any:
    def said(element: FunctionElement[object], compiler: SQLCompiler, **options: object) -> str:
        return template.format(*(compiler.process(part, **options) for part in element.clauses))

    return said


for _element, (_lite, _postgres) in TEMPLATES.items():
    compiles(_element, SQLITE)(_say(_lite))
    compiles(_element, POSTGRESQL)(_say(_postgres))
