"""Reading a part of the list of all items, by the shorter of two ways.

In order: look at one item after the other, as an index has them, until enough fit. Or by a list of
all that may fit, which some index gives: look at these, and sort them. With ``n`` items of which
``m`` fit, spread evenly, the first looks at ``n / m`` for each that it shows, and the second at
``m``: both take as long where ``m`` is the root of ``n`` times what is shown. So lists are read as
far as that, and then the items in order. What is spread unevenly may need more: then both are tried
once more, further, until one has come to its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isqrt
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    case,
    func,
    select,
)

from zoo.domain.query import Query
from zoo.registry import index, schema
from zoo.registry.conditions import conditions, drivers, visible, wanted
from zoo.registry.items import ITEM
from zoo.registry.seen import VisibilityFilter
from zoo.registry.sql import Expression, among
from zoo.registry.terms import Wanted

__all__ = ["SIZES", "Page", "count", "count_checkpoints", "matching", "read"]

LIST = 16
"""How much further lists are read than up to the root, squared: an item of a list takes less time
than one in order. With 4, 16 and 32, 95 % of the queries of ``benchmarks/search.py`` took at most
29, 21 and 24 ms of CPU time among 200,000 items, the slowest 59, 25 and 86."""
FURTHER = 8
"""How many times as far each try goes as the one before, so that all before it cost little."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the list of all items.

    Attributes:
        order: The order, told of an item.
        condition: Which items.
        wanted: Terms that all of them have.
        rows: What to read them from in their order, if only another table has an index of it. To
            look items of a list up there, an engine would go through all of that index.
        order_of_rows: The order, told of these rows; empty: as ``order``.
    """

    order: tuple[Expression, ...]
    condition: ColumnElement[bool]
    wanted: Wanted = ()
    rows: FromClause = ITEM
    order_of_rows: tuple[Expression, ...] = ()

    def only(self, condition: ColumnElement[bool]) -> Page:
        """Those of its items that fulfil a condition, too."""
        return replace(self, condition=and_(self.condition, condition))


def count(
    connection: Connection,
    query: Query,
    at_most: int | None = None,
    seen: VisibilityFilter | None = None,
) -> int:
    """How many match, whatever the limit of the query; no more than ``at_most`` are counted."""
    return _count(connection, matching(connection, query, [ITEM.c.id], at_most, seen))


def count_checkpoints(connection: Connection, query: Query) -> int:
    """As `count`, each checkpoint once, whatever names it has."""
    what = func.coalesce(ITEM.c.manifest, ITEM.c.name)
    return _count(connection, matching(connection, query, [what]).distinct())


def matching(
    connection: Connection,
    query: Query,
    columns: Sequence[ColumnElement[Any]],
    at_most: int | None = None,
    seen: VisibilityFilter | None = None,
) -> Select[object]:
    """Some columns of ``at_most`` so many that match, in any order."""
    statement = select(*columns).where(visible(seen), *conditions(query)).limit(at_most)
    terms = wanted(query)
    if lists := [*([index.having(terms)] if terms else []), *drivers(query)]:
        sizes = [_count(connection, each.limit(at_most)) for each in lists]
        shortest = lists[sizes.index(min(sizes))].subquery()
        statement = statement.select_from(shortest.join(ITEM, ITEM.c.id == shortest.c.id))
    return statement


def read(
    connection: Connection,
    query: Query,
    page: Page,
    size: int,
    limit: int,
    seen: VisibilityFilter | None,
) -> list[int]:
    """The ids of the first ``limit`` that fit, of those that may be ``seen``, of a page with
    ``size`` items at most.
    """
    having = [*page.wanted, *wanted(query)] if query.words or query.filters else []
    lists = drivers(query)
    most = isqrt(LIST * limit * size)
    while True:
        listed = _shortest(connection, lists, having, most)
        if listed is not None:
            if not listed:
                return []
            fits = and_(among(ITEM.c.id, listed), page.condition, *conditions(query, having))
            fitting = select(ITEM.c.id).where(fits, visible(seen)).order_by(*page.order)
            return list(connection.scalars(fitting.limit(limit)))
        whole = not (lists or having) or most >= size
        fits = and_(*conditions(query), visible(seen))
        ids = _in_order(connection, fits, page, limit, None if whole else most)
        if whole or len(ids) == limit:
            return ids
        most *= FURTHER


def _in_order(
    connection: Connection, fits: ColumnElement[bool], page: Page, limit: int, most: int | None
) -> list[int]:
    """Those that fit of the first ``most`` items of a page."""
    # SQLite evaluates all of a condition whose value is wanted, but not of one of a CASE.
    every = select(ITEM.c.id, case((fits, 1), else_=0).label("fits")).select_from(page.rows)
    ordered = every.where(page.condition).order_by(*(page.order_of_rows or page.order))
    looked_at = ordered.limit(most).subquery()
    # Both engines hand on the rows of a subquery as it gives them.
    fitting = select(looked_at.c.id).where(looked_at.c.fits == 1).limit(limit)
    return list(connection.scalars(fitting))


def _shortest(
    connection: Connection, lists: list[Select[tuple[int]]], having: Wanted, most: int
) -> Sequence[object] | None:
    """The shortest of the lists, and of that of what has the terms; None if all are longer than
    ``most``.
    """
    shortest = None
    for each in lists:
        if (size := _count(connection, each.limit(most + 1))) <= most:
            shortest, most = each, size
    # Last, and no further than the others: the index of terms is read as slowly as it is counted.
    if having:
        ids = connection.scalars(index.having(having).limit(most + 1)).all()
        if len(ids) <= most:
            return ids
    return None if shortest is None else connection.scalars(shortest).all()


def _count(connection: Connection, rows: Select[object]) -> int:
    return connection.scalar(select(func.count()).select_from(rows.subquery())) or 0


# How many items a page has at most, without a look at each: of all, and of those with names.
LAST = select(func.max(ITEM.c.id)).scalar_subquery()
REFS, REMOTE_REFS = (
    select(func.count()).select_from(table).scalar_subquery()
    for table in (schema.ref, schema.remote_ref)
)
SIZES = select(LAST.label("last"), (REFS + REMOTE_REFS).label("named"))
