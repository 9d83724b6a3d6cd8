"""The index of terms: which items have a term. It holds no text and no positions.

SQLite has FTS5, told that all but the end of a line is a part of a term. To take an item out, the
terms that were put in must be given once more. PostgreSQL has a ``tsvector`` with a GIN index: the
threes of `zoo.registry.terms` do what the extension pg_trgm does, which must be permitted and knows
nothing of `/`, `-` and `_` (ADR 10).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from string import punctuation

import sqlalchemy as sa

from zoo.registry.sql import POSTGRESQL, SQLITE, among, function
from zoo.registry.terms import Wanted

__all__ = ["add", "clear", "create", "having", "optimize", "remove"]

INDEX = sa.table("item_term", sa.column("rowid", sa.Integer), sa.column("terms"))
# All of a large transaction is merged in memory: among two million items, indexing by FTS5's own
# megabyte writes and merges hundreds of segments. No more is taken than there is to index.
ROOM = "INSERT INTO item_term(item_term, rank) VALUES ('hashsize', 67108864)"
TOKEN = (" " + punctuation).replace("'", "''''")
LONGEST = 255
"""Characters of a term; the rest is hashed. PostgreSQL takes 2,046 bytes."""
MOST_BYTES = 900_000
"""Of all terms of an item. PostgreSQL takes a million; of a longer card the longest words go."""

CREATE = {
    SQLITE: (
        "CREATE VIRTUAL TABLE item_term USING fts5(terms, content='', columnsize=0, detail=none, "
        f"tokenize='ascii tokenchars ''{TOKEN}''')",
        ROOM,
    ),
    POSTGRESQL: (
        "CREATE TABLE item_term (rowid BIGINT PRIMARY KEY, terms TSVECTOR NOT NULL)",
        "CREATE INDEX ix_item_term_terms ON item_term USING gin (terms)",
    ),
}
CLEAR = {
    SQLITE: ("INSERT INTO item_term(item_term) VALUES ('delete-all')", ROOM),
    POSTGRESQL: ("DELETE FROM item_term",),
}
MANY = {SQLITE: 100_000, POSTGRESQL: 1_000}
"""From so many new items on it is worth to optimize: on SQLite that takes a tenth of the time that
these take to index; on PostgreSQL little, and until then it plans searches without figures."""
OPTIMIZE = {
    SQLITE: ("INSERT INTO item_term(item_term) VALUES ('optimize')",),
    POSTGRESQL: (
        "SELECT gin_clean_pending_list('ix_item_term_terms')",
        "ANALYZE item_term, item, card, listing, measure",
    ),
}


_match = function(sa.Boolean(), "item_term MATCH {1}", "{0} @@ CAST({1} AS tsquery)")


def create(connection: sa.Connection) -> None:
    """Make an empty index."""
    _run(connection, CREATE)


def clear(connection: sa.Connection) -> None:
    """Take everything out."""
    _run(connection, CLEAR)


def optimize(connection: sa.Connection) -> None:
    """Prepare for searches, after very many items were put in."""
    _run(connection, OPTIMIZE)


def add(connection: sa.Connection, terms: Sequence[tuple[int, str]]) -> None:
    """Put items in: the id of each and what `terms_of` says."""
    statement, rows = "INSERT INTO item_term (rowid, terms) VALUES (?, ?)", [*terms]
    if connection.dialect.name != SQLITE:
        # As one text: of a list the driver writes each term by itself.
        statement = (
            "INSERT INTO item_term VALUES (%s, array_to_tsvector(string_to_array(%s, chr(10))))"
        )
        rows = [(number, "\n".join(_fitting(said.split("\n")))) for number, said in terms]
    if rows:
        connection.exec_driver_sql(statement, rows)


def remove(connection: sa.Connection, terms: Sequence[tuple[int, str]]) -> None:
    """Take items out, each with the terms that it was put in with."""
    statement = "INSERT INTO item_term (item_term, rowid, terms) VALUES ('delete', ?, ?)"
    if terms and connection.dialect.name == SQLITE:
        connection.exec_driver_sql(statement, list(terms))
    elif terms:
        connection.execute(sa.delete(INDEX).where(among(INDEX.c.rowid, [id_ for id_, _ in terms])))


def having(wanted: Wanted) -> sa.Select[tuple[int]]:
    """The ids of the items that have the wanted terms."""
    given = sa.bindparam(None, wanted, _Wanted, unique=True)
    return sa.select(INDEX.c.rowid.label("id")).where(_match(INDEX.c.terms, given))


def _run(connection: sa.Connection, statements: Mapping[str, tuple[str, ...]]) -> None:
    for statement in statements[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def _fitting(terms: list[str]) -> list[str]:
    """What a ``tsvector`` takes of all terms."""
    ordered = sorted(map(_short, filter(None, terms)), key=len)
    sizes = accumulate(len(term.encode()) for term in ordered)
    return [term for term, size in zip(ordered, sizes, strict=True) if size <= MOST_BYTES]


def _short(term: str) -> str:
    if len(term) <= LONGEST:
        return term
    return term[: LONGEST - 32] + blake2b(term.encode(), digest_size=16).hexdigest()


class _Wanted(sa.TypeDecorator[Wanted]):
    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: Wanted | None, dialect: sa.Dialect) -> str:
        both, either, quoted = (
            (" AND ", " OR ", _in_double_quotes)
            if dialect.name == SQLITE
            else (" & ", " | ", _in_single_quotes)
        )
        each = ((both.join(map(quoted, terms)) for terms in any_of) for any_of in value or ())
        return both.join("((" + f"){either}(".join(any_of) + "))" for any_of in each)


def _in_double_quotes(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'


def _in_single_quotes(term: str) -> str:
    return "'" + _short(term).replace("\\", "\\\\").replace("'", "''") + "'"
