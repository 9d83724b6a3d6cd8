"""Damage: what is wrong with a database in a file, looked for in all of it.

It takes as long as reading everything, so that it is asked for only where something failed, and by
who makes an index again.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import JSON, Column, Connection, Engine, Float, Integer, Table, inspect, select
from sqlalchemy.exc import InvalidRequestError, StatementError

from zoo.errors import Corrupt, InvalidReference
from zoo.registry import checkpoints, remotes, schema
from zoo.registry.engine import reading
from zoo.registry.migrate import HEAD, revision

__all__ = ["MET", "damage"]

MET = (
    Corrupt,
    StatementError,
    InvalidRequestError,
    InvalidReference,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
)
"""What damage shows as, and mistakes of ours may, too: which it is, `damage` tells."""
BATCH = 1000


def damage(engine: Engine) -> str | None:
    """What is wrong with the database; None if it is sound."""
    try:
        with reading(engine) as connection:
            return next(_problems(connection), None)
    except MET as error:
        return str(error).partition("\n")[0]


def _problems(connection: Connection) -> Iterator[str]:
    report = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    if report != "ok":
        yield str(report)
    if (version := revision(connection) or "none") != HEAD:
        if not version.isdigit():
            yield f"the version of its schema is {version}"
        return  # the tables are those of another program
    yield from _missing(connection)
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"a row of {row[0]} belongs to none of {row[2]}"
    for table in schema.metadata.sorted_tables:
        yield from _strange(connection, table)
    checkpoints.refs(connection)
    remotes.all_names(connection)


def _missing(connection: Connection) -> Iterator[str]:
    look = inspect(connection)
    for table in schema.metadata.sorted_tables:
        if not look.has_table(table.name):
            yield f"it has no table {table.name}"
        elif lacking := set(table.c.keys()) - {c["name"] for c in look.get_columns(table.name)}:
            yield f"its table {table.name} has no {', '.join(sorted(lacking))}"
    if not look.has_table("item_term"):
        yield "it has no index of terms"


def _strange(connection: Connection, table: Table) -> Iterator[str]:
    """Rows that hold what no column of theirs can."""
    tests = " OR ".join(f"({_test(column)})" for column in table.c)
    statement = f'SELECT 1 FROM "{table.name}" WHERE {tests} LIMIT 1'  # noqa: S608 - our own names
    if connection.exec_driver_sql(statement).first():
        yield f"its table {table.name} holds what it cannot"
    with connection.execute(select(table).execution_options(yield_per=BATCH)) as rows:
        for _ in rows:
            pass  # to read is to decode


def _test(column: Column[object]) -> str:
    name = f'"{column.name}"'
    if isinstance(column.type, JSON):
        # Of NULL, some versions of SQLite say that it is not JSON.
        kind = f"json_type({name}) NOT IN ('array', 'object')"
        wrong = f"{name} IS NOT NULL AND CASE json_valid({name}) WHEN 1 THEN {kind} ELSE 1 END"
        return wrong if column.nullable else f"{wrong} OR {name} IS NULL"
    kinds = ["'text'"]
    if isinstance(column.type, Integer) or column.type.python_type is bool:
        kinds = ["'integer'"]
    elif isinstance(column.type, Float):
        kinds = ["'real'", "'integer'"]
    if column.nullable:
        kinds.append("'null'")
    wrong = f"typeof({name}) NOT IN ({', '.join(kinds)})"
    if column.name == "manifest":
        wrong += f" OR ({name} != '' AND ({name} NOT LIKE 'blake3:%' OR length({name}) != 71))"
    return wrong
