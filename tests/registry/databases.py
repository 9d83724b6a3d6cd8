"""What is in a database, be it a file or on a server."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

__all__ = ["connect", "definitions", "dump", "execute"]

INTERNAL = ("alembic", "item_term")
COLUMNS = """SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = 'public'"""
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
CONSTRAINTS = """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace"""


def connect(url: str) -> psycopg.Connection[Any]:
    parts = make_url(url).set(drivername="postgresql")
    return psycopg.connect(parts.render_as_string(hide_password=False), autocommit=True)


def execute(where: Path | str, script: str) -> None:
    """Run statements, committed at once."""
    if isinstance(where, Path):
        connection = sqlite3.connect(where)
        connection.executescript(script)
        connection.close()
    else:
        with connect(where) as session:
            session.execute(script)


def definitions(where: Path | str, *, whole: bool = False) -> set[str]:
    """All that the schema says; with ``whole``, also of what no schema of tables can tell."""
    found = _of_file(where) if isinstance(where, Path) else _of_server(where)
    return {text for name, text in found if whole or not name.startswith(INTERNAL)}


def dump(where: Path | str, *, whole: bool = False) -> list[str]:
    """The schema and all rows."""
    return sorted(definitions(where, whole=whole)) + sorted(_rows(where))


def _of_file(path: Path) -> Iterator[tuple[str, str]]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL").fetchall()
    connection.close()
    return ((name, re.sub(r"\s*([(),])\s*|\s+", _spaced, sql)) for name, sql in rows)


def _spaced(match: re.Match[str]) -> str:
    return match[1] or " "


def _of_server(url: str) -> Iterator[tuple[str, str]]:
    with connect(url) as session:
        rows = [row for query in (COLUMNS, INDEXES, CONSTRAINTS) for row in session.execute(query)]
    return ((row[0], str(row)) for row in rows)


def _rows(where: Path | str) -> Iterator[str]:
    if isinstance(where, Path):
        connection: Any = sqlite3.connect(where)
        listed = "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE TABLE%'"
    else:
        connection = connect(where)
        listed = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    for (name,) in connection.execute(listed).fetchall():
        for row in connection.execute(f'SELECT * FROM "{name}"').fetchall():
            yield f"{name}: {row}"
    connection.close()
