"""Sets of terms in SQLite: FTS5.

The index holds no text and no positions, only which items have a term: so to take an item out, the
terms that were put in must be given once more. Terms are letters and digits by the time they come
here, so the plainest tokenizer will do, and every SQLite that has FTS5 at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from zoo.registry.terms import Wanted, safe

__all__ = ["add", "clear", "expression", "in_bulk", "remove"]

NAME = "item_term"
BULK_BYTES = 64 << 20
USUAL_BYTES = 1 << 20


def add(connection: Connection, terms: Sequence[tuple[int, str]]) -> None:
    """Put items in: the id of each and what `terms_of` says."""
    if terms:
        connection.exec_driver_sql(
            f"INSERT INTO {NAME}(rowid, terms) VALUES (?, ?)",  # noqa: S608 - a constant
            list(terms),
        )


def remove(connection: Connection, terms: Sequence[tuple[int, str]]) -> None:
    """Take items out, each with the terms that it was put in with."""
    if terms:
        connection.exec_driver_sql(
            f"INSERT INTO {NAME}({NAME}, rowid, terms) VALUES ('delete', ?, ?)",  # noqa: S608
            list(terms),
        )


def clear(connection: Connection) -> None:
    """Take everything out."""
    connection.exec_driver_sql(f"INSERT INTO {NAME}({NAME}) VALUES ('delete-all')")  # noqa: S608


def in_bulk(connection: Connection, *, begin: bool) -> None:
    """Tell that very many items will be put in, or that they were."""
    size = BULK_BYTES if begin else USUAL_BYTES
    set_size = f"INSERT INTO {NAME}({NAME}, rank) VALUES ('hashsize', ?)"  # noqa: S608
    connection.exec_driver_sql(set_size, (size,))
    if not begin:
        connection.exec_driver_sql(f"INSERT INTO {NAME}({NAME}) VALUES ('optimize')")  # noqa: S608


def expression(wanted: Wanted) -> str:
    """What is wanted, in FTS5's query language."""
    return " AND ".join(
        "(" + " OR ".join("(" + " AND ".join(map(_quoted, all_of)) + ")" for all_of in any_of) + ")"
        for any_of in wanted
    )


def _quoted(term: str) -> str:
    return f'"{safe(term)}"'
