"""Reading a part of the list of all items, from one of two ends.

From the order: look at one item after the other, as an index has them, until enough fit. Or from a
driver, an index that gives all that may fit: check these, and sort them. With ``n`` items of which
``m`` fit, spread evenly, the first looks at ``n / m`` for each that it shows, and the second at
``m``; so the second is taken up to where both take as long. What is spread unevenly ends the first
way after a while, and then the second is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, and_, case, func, select, true

from zoo.domain.query import Query
from zoo.registry import index, schema
from zoo.registry.conditions import conditions, drivers, visible, wanted
from zoo.registry.items import ITEM
from zoo.registry.sql import among
from zoo.registry.terms import Wanted

__all__ = ["Page", "Walk", "count", "read"]

PATIENCE = 4
"""How many times as many items are looked at in order as would do if all that is proposed fitted
and were spread evenly."""
LONGER, QUICKER = 4.0, 0.5
"""How many times as long it takes to look at an item in order as to find one by a driver and look
at it: if its card must be looked at, and if a filter has made that needless for most."""
LEAST = 200
"""So many items of a driver are looked at whatever the order would take: it is soon done."""
MANY = 50_000
"""From so many items on it pays to look which terms are rare."""
LOOK = 4096
"""After so many items of a driver, if they lie so close that too many must follow, it is left. What
one source lists lies together, so that the first few would tell little."""
MOST = 1_000_000
"""More items than that are not counted to tell which driver gives the fewest."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Items in an order that an index has.

    Attributes:
        rows: Where they are read from.
        order: What the index is of.
        condition: Which of the rows.
    """

    rows: FromClause
    order: tuple[ColumnElement[Any], ...]
    condition: ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the list of all items.

    Attributes:
        order: The order, told of an item.
        condition: Which items.
        wanted: Terms that all of them have.
        walk: Another way to the same order, if only another table has an index of it.
    """

    order: tuple[ColumnElement[Any], ...]
    condition: ColumnElement[bool]
    wanted: Wanted = ()
    walk: Walk | None = None


def count(connection: Connection, query: Query, at_most: int | None = None) -> int:
    """How many match, whatever the limit of the query; no more than ``at_most`` are counted."""
    rows: FromClause = ITEM
    having = _having(connection, wanted(query))
    if having or drivers(query):
        driver = _fewest(connection, query, having, at_most or MOST).subquery()
        rows = driver.join(ITEM, ITEM.c.id == driver.c.id)
    fitting = select(ITEM.c.id).select_from(rows).where(visible(), *conditions(query))
    return _count(connection, fitting.limit(at_most).subquery())


def read(connection: Connection, query: Query, page: Page, limit: int) -> list[int]:
    """The first items of a page that fit; their ids."""
    size = _size(connection, page)
    if not size:
        return []
    having = _having(connection, [*page.wanted, *wanted(query)])
    if not (query.words or query.filters) or not (having or drivers(query)):
        return _in_order(connection, query, page, limit, None)[0]
    balance = sqrt(limit * size * (QUICKER if query.filters else LONGER))
    few = max(int(balance) + limit, LEAST)
    candidates: ColumnElement[bool]
    proposed, few_have = _proposed(connection, query, having, few)
    if proposed is None:
        ids, done = _in_order(connection, query, page, limit, PATIENCE * limit * size // few)
        if done:
            return ids
        candidates = ITEM.c.id.in_(_fewest(connection, query, having, MOST))
    elif not proposed:
        return []
    else:
        candidates = among(ITEM.c.id, proposed)
    fits = _fits(query, page, having if few_have else None)
    statement = select(ITEM.c.id).where(candidates, fits)
    return list(connection.scalars(statement.order_by(*page.order).limit(limit)))


def _fits(query: Query, page: Page, having: Wanted | None) -> ColumnElement[bool]:
    return and_(true(), page.condition, *conditions(query, having), visible())


def _in_order(
    connection: Connection, query: Query, page: Page, limit: int, patience: int | None
) -> tuple[list[int], bool]:
    """Items that fit, and whether these are the first ones of all."""
    walk = page.walk or Walk(ITEM, page.order, page.condition)
    # SQLite evaluates all of a condition whose value is wanted, but not of one of a CASE.
    checked = case((_fits(query, page, None), 1), else_=0).label("fits")
    every = select(ITEM.c.id).select_from(walk.rows).where(walk.condition)
    looked_at = every.add_columns(checked).order_by(*walk.order).limit(patience).subquery()
    # Both engines hand on the rows of a subquery as it gives them.
    fitting = select(looked_at.c.id).where(looked_at.c.fits == 1).limit(limit)
    ids = _ids(connection, fitting)
    if len(ids) == limit or patience is None:
        return ids, True
    return ids, _count(connection, every.limit(patience + 1).subquery()) <= patience


def _proposed(
    connection: Connection, query: Query, having: Wanted, at_most: int
) -> tuple[list[int] | None, bool]:
    """What the driver that gives the fewest items gives; None if all give more than ``at_most``.

    And whether no more than that have the terms.
    """
    best: list[int] | None = None
    if having:
        best = _few(connection, index.having(having), at_most)
    few_have = best is not None
    for driver in drivers(query):
        fewer = at_most if best is None else len(best)
        # Other indexes count faster than what they count is read; that of terms does not.
        if _count(connection, driver.limit(fewer + 1).subquery()) <= fewer:
            best = _ids(connection, driver)
    return best, few_have


def _having(connection: Connection, terms: Wanted) -> Wanted:
    """The terms to look for."""
    return index.of(connection).thinned(connection, terms) if _largest(connection) > MANY else terms


def _few(connection: Connection, driver: Select[tuple[int]], at_most: int) -> list[int] | None:
    """What a driver gives, unless that is more, or seems to be by the first ones of it."""
    rows = connection.scalars(driver.limit(at_most + 1))
    first: Sequence[Any] = rows.fetchmany(LOOK)
    if len(first) == LOOK and LOOK * _largest(connection) > at_most * max(first):
        rows.close()
        return None
    ids = [*first, *rows.all()]
    return ids if len(ids) <= at_most else None


def _ids(connection: Connection, driver: Select[tuple[int]]) -> list[int]:
    ids: Sequence[Any] = connection.scalars(driver).all()
    return list(ids)


def _fewest(
    connection: Connection, query: Query, having: Wanted, at_most: int
) -> Select[tuple[int]]:
    """The driver that gives the fewest items; more than ``at_most`` are not counted."""
    found = [index.having(having)] if having else []
    found += drivers(query)
    best, fewest = found[0], at_most + 1
    for driver in found:
        size = _count(connection, driver.limit(fewest).subquery())
        if size < fewest:
            best, fewest = driver, size
    return best


def _size(connection: Connection, page: Page) -> int:
    """About how many items a page has, without a look at each."""
    if page.wanted:
        tables = (schema.ref, schema.remote_ref)
        return sum(_count(connection, table) for table in tables)
    return _largest(connection)


def _largest(connection: Connection) -> int:
    return connection.scalar(select(func.max(ITEM.c.id))) or 0


def _count(connection: Connection, rows: FromClause) -> int:
    return connection.scalar(select(func.count()).select_from(rows)) or 0
