"""Sets of terms in SQLite: FTS5.

The index holds no text and no positions, only which items have a term: so to take an item out, the
terms that were put in must be given once more. Terms are letters and digits by the time they come
here, so the plainest tokenizer will do, and every SQLite that has FTS5 at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from zoo.registry.terms import LENGTH, Wanted, safe

__all__ = ["add", "clear", "create", "expression", "in_bulk", "remove", "thinned"]

NAME = "item_term"
BULK_BYTES = 64 << 20
USUAL_BYTES = 1 << 20
SAMPLE = 4096
"""At how many of the items that have a term it is seen how far apart these are. What one source
lists lies together: the first few would tell little."""
RAREST = 3
"""Of terms that all are wanted, so many are asked for."""
COMMON = 0.5
"""What more than this share of the items have is not asked for, if anything else is."""


def create(connection: Connection) -> None:
    """Make an empty index."""
    connection.exec_driver_sql(
        f"""CREATE VIRTUAL TABLE {NAME} USING fts5(
            terms, content='', columnsize=0, detail=none, tokenize='ascii')"""
    )


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


def thinned(connection: Connection, wanted: Wanted) -> Wanted:
    """Fewer terms, which find a little more.

    FTS5 goes through the whole list of each term. So of several that all are wanted the rarest are
    taken, and none that most items have.
    """
    shares: dict[str, float] = {}

    def share(term: str) -> float:
        if term not in shares:
            shares[term] = _share(connection, term)
        return shares[term]

    fewer = [[_rarest(all_of, share) for all_of in any_of] for any_of in wanted]
    rare = [
        any_of
        for any_of in fewer
        if max(min(share(term) for term in all_of) for all_of in any_of) <= COMMON
    ]
    return rare or fewer


def _rarest(terms: Sequence[str], share: Callable[[str], float]) -> list[str]:
    """A few of the terms: the rarest, and such as have no character in common first."""
    places = sorted(range(len(terms)), key=lambda place: share(terms[place]))
    taken: list[int] = []
    for place in places:
        if all(abs(place - other) >= LENGTH for other in taken):
            taken.append(place)
    taken += [place for place in places if place not in taken]
    return [terms[place] for place in taken[:RAREST]]


def _share(connection: Connection, term: str) -> float:
    """About which share of the items has a term, as far as its first ones tell."""
    statement = f"SELECT rowid FROM {NAME} WHERE {NAME} MATCH ? LIMIT 1 OFFSET ?"  # noqa: S608
    row = connection.exec_driver_sql(statement, (_quoted(term), SAMPLE)).first()
    return SAMPLE / row[0] if row else 0.0


def _quoted(term: str) -> str:
    return f'"{safe(term)}"'
