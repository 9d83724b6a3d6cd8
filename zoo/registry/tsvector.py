"""Sets of terms in PostgreSQL: a ``tsvector`` without positions, and a GIN index of it.

The threes of `zoo.registry.terms` do what the extension pg_trgm does, and any database has them: an
extension must be permitted, and it knows nothing of `/`, `-` and `_`. See ADR 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from sqlalchemy import Connection

from zoo.registry.terms import Wanted, safe

__all__ = ["add", "clear", "create", "expression", "in_bulk", "remove", "thinned"]

NAME = "item_term"
LONGEST = 255
"""In characters. PostgreSQL takes 2,046 bytes."""
MOST_BYTES = 900_000
"""Of all terms of an item. PostgreSQL takes a million; of a longer card the longest words go."""
CHANGED = (NAME, "item", "card", "listing", "measure")


def create(connection: Connection) -> None:
    """Make an empty index."""
    connection.exec_driver_sql(
        f"CREATE TABLE {NAME} (rowid BIGINT PRIMARY KEY, terms TSVECTOR NOT NULL)"
    )
    connection.exec_driver_sql(f"CREATE INDEX ix_{NAME}_terms ON {NAME} USING gin (terms)")


def add(connection: Connection, terms: Sequence[tuple[int, str]]) -> None:
    """Put items in: the id of each and what `terms_of` says."""
    if terms:
        connection.exec_driver_sql(
            f"INSERT INTO {NAME} (rowid, terms) "  # noqa: S608 - a constant
            "VALUES (%s, array_to_tsvector(%s::text[]))",
            [(number, _fitting(said)) for number, said in terms],
        )


def remove(connection: Connection, terms: Sequence[tuple[int, str]]) -> None:
    """Take items out."""
    if terms:
        numbers = [number for number, _ in terms]
        connection.exec_driver_sql(
            f"DELETE FROM {NAME} WHERE rowid = ANY(%s)",  # noqa: S608
            (numbers,),
        )


def clear(connection: Connection) -> None:
    """Take everything out."""
    connection.exec_driver_sql(f"DELETE FROM {NAME}")  # noqa: S608


def in_bulk(connection: Connection, *, begin: bool) -> None:
    """Tell that very many items will be put in, or that they were."""
    if not begin:
        connection.exec_driver_sql(f"SELECT gin_clean_pending_list('ix_{NAME}_terms')")
        connection.exec_driver_sql("ANALYZE " + ", ".join(CHANGED))


def thinned(connection: Connection, wanted: Wanted) -> Wanted:  # noqa: ARG001 - as FTS5's
    """The same: a GIN index begins with the rarest by itself."""
    return wanted


def expression(wanted: Wanted) -> str:
    """What is wanted, as a ``tsquery``."""
    return " & ".join(
        "(" + " | ".join("(" + " & ".join(map(_quoted, all_of)) + ")" for all_of in any_of) + ")"
        for any_of in wanted
    )


def _quoted(term: str) -> str:
    return f"'{_short(safe(term))}'"  # what is safe has no quotes


def _fitting(said: str) -> list[str]:
    terms = [_short(term) for term in said.split(" ") if term]
    if len(said.encode()) <= MOST_BYTES:
        return terms
    terms.sort(key=len)
    room = MOST_BYTES
    for number, term in enumerate(terms):
        room -= len(term.encode())
        if room < 0:
            return terms[:number]
    return terms


def _short(term: str) -> str:
    if len(term) <= LONGEST:
        return term
    return term[: LONGEST - 32] + blake2b(term.encode(), digest_size=16).hexdigest()
