"""Conditions: what a query asks of an item, in SQL.

Each part of a query is told twice where it can be: as an exact condition on an item, and as a
driver, a list of ids that an index gives and that holds all that fit. See `zoo.registry.page` for
which of the two a search begins with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from operator import eq, ge, gt, le, lt
from typing import Any

import sqlalchemy as sa

from zoo.domain.digest import digits_of
from zoo.domain.limits import LARGEST
from zoo.domain.query import Filter, Query
from zoo.domain.reference import DEFAULT_TAG
from zoo.registry import index, schema, terms
from zoo.registry.items import CATALOG, CHECKPOINT, ITEM, OTHER, OTHER_IS_NAMED, REMOTE
from zoo.registry.seen import VisibilityFilter, is_seen
from zoo.registry.sql import Expression, Whole, each_of, exists, like, lower, position, size
from zoo.registry.terms import Wanted

__all__ = ["OF_METRIC", "conditions", "drivers", "metric_of", "visible", "wanted"]

Condition = sa.ColumnElement[bool]

AFTER = "\x7f"
"""Comes after all that a date goes on with."""
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {"<": lt, "<=": le, "=": eq, ">=": ge, ">": gt}
NUMBERS = {"params": ITEM.c.params, "input": ITEM.c.height, "num_classes": ITEM.c.num_classes}
"""Those with an index."""
TEXTS = {
    "arch": ITEM.c.architecture,
    "backbone": ITEM.c.backbone,
    "head": ITEM.c.head,
    "license": ITEM.c.license,
    "owner": sa.func.substr(ITEM.c.name, 1, sa.func.nullif(position(ITEM.c.name, "/"), 0) - 1),
    "name": sa.case((ITEM.c.ref_tag == "", ITEM.c.name), else_=ITEM.c.name + ":" + ITEM.c.ref_tag),
}
PARTS = ("name", "parent")
"""What is no whole value in the index of terms."""
OF_NAMES = ("head", "classes", "parent", "frozen")
"""What only that has that is here or at a remote."""
OF_METRIC = schema.measure.c.item_id == ITEM.c.id
"""Joins items with their metrics."""


def conditions(query: Query, having: Wanted | None = None) -> list[Condition]:
    """All that the query asks, exactly.

    Terms that all have which fit are ``having``, if not very many items are looked at: those that
    have a whole word are then found at once, else the index is asked for each.
    """
    # Filters first: most compare a column of the row, a word may have to be looked for in a card.
    words = (_has_word(word, having) for word in query.words if word)
    return [*map(_fits, query.filters), *words]


def wanted(query: Query) -> Wanted:
    """The terms that all that fits has."""
    having = [terms.word(word) for word in query.words if word]
    for each in query.filters:
        if each.field in OF_NAMES:
            having.append([[terms.NAMED]])
        if isinstance(each.value, str) and each.field not in ("source", "updated"):
            having += _terms(each.field, each.value)
    return having


def drivers(query: Query) -> list[sa.Select[tuple[int]]]:
    """Lists of ids, each of which has all that fits, from other indexes than that of terms."""
    lists: list[sa.Select[tuple[int]]] = []
    for each in query.filters:
        if each.field in NUMBERS or each.field == "updated":
            lists.append(sa.select(ITEM.c.id).where(_fits(each)))
        elif each.metric:
            measured = sa.select(ITEM.c.id).join(schema.measure, OF_METRIC)
            lists.append(measured.where(_measures(each)))
        elif each.field == "source" and "*" not in str(each.value):
            lists.append(_listed_by(str(each.value)))
    return lists


@lru_cache(maxsize=256)
def visible(seen: VisibilityFilter | None = None) -> Condition:
    """Whether an item is shown: it may be told of, a name that is here stands for the same name
    elsewhere, and what a source publishes for the same at a remote.
    """
    same = sa.and_(OTHER.c.name == ITEM.c.name, is_seen(OTHER, seen))
    here = (same, OTHER.c.kind == CHECKPOINT, OTHER_IS_NAMED)
    this = (OTHER.c.ref_tag == ITEM.c.ref_tag, OTHER.c.manifest == ITEM.c.manifest)
    published = _has(same, OTHER.c.kind == CATALOG)
    stands = sa.case(
        (ITEM.c.kind == CATALOG, ~_has(*here)),
        (ITEM.c.kind == REMOTE, sa.and_(~published, ~_has(*here, *this))),
        else_=True,
    )
    return sa.and_(is_seen(ITEM, seen), stands)


def metric_of(name: str) -> sa.ColumnElement[float | None]:
    """A metric of an item; NULL if it has none."""
    measure = schema.measure.c
    value = sa.select(measure.value).where(measure.name == name, OF_METRIC)
    return value.correlate(ITEM).scalar_subquery()


def _has(*conditions: Condition) -> Condition:
    # What a list is sorted by may come from the same table: only items are those outside.
    statement: sa.Select[Any] = sa.select(sa.literal_column("1")).where(*conditions).correlate(ITEM)
    return exists(statement.scalar_subquery())


def _has_word(text: str, having: Wanted | None) -> Condition:
    word, exact = terms.fold(text), [terms.whole(text)]
    part = position(ITEM.c.text, word) > 0  # has no wildcards that would need escaping
    if having is None:
        indexed = index.having([[exact]]).where(index.INDEX.c.rowid == ITEM.c.id)
        whole = exists(indexed.correlate(ITEM).scalar_subquery())
    else:
        # All that have the whole word, found at once when it is first asked for.
        narrowed = [[exact], *(any_of for any_of in having if exact not in any_of)]
        whole = ITEM.c.id.in_(index.having(narrowed))
    # To ask the index takes ten times as long as to look at the card; all else that sources
    # list whole is in the text anyway. The card is not folded: only ASCII is the same then.
    card = schema.card.c.text
    plain = sa.func.length(card) == size(card)
    lacks = sa.and_(plain, position(lower(card), word) == 0) if word.isascii() else sa.false()
    in_card = _has(schema.card.c.item_id == ITEM.c.id, sa.not_(lacks))
    may = sa.or_(ITEM.c.kind != CATALOG, in_card)
    return sa.or_(part, sa.and_(may, whole)) if terms.part(text) else sa.and_(may | part, whole)


def _fits(each: Filter) -> Condition:
    value = each.value
    if each.field == "pulled":
        return ITEM.c.kind == CHECKPOINT if value else ITEM.c.kind != CHECKPOINT
    if each.field == "updated":
        return _dated(each.operator, str(value))
    if each.metric:
        return _has(OF_METRIC, _measures(each))
    if isinstance(value, str):
        return _matches(each.field, value)
    column = ITEM.c.frozen if each.field == "frozen" else NUMBERS[each.field]
    compared: Condition = OPERATORS[each.operator](column, _number(value))
    return compared


def _matches(field: str, value: str) -> Condition:
    if field in TEXTS:
        return like(TEXTS[field], value)
    if field == "tag":
        ref_tag = sa.case((ITEM.c.ref_tag == "", DEFAULT_TAG), else_=ITEM.c.ref_tag)
        return sa.or_(
            like(ITEM.c.tag, value), sa.and_(ITEM.c.kind != CATALOG, like(ref_tag, value))
        )
    if field == "dataset":
        names = each_of(ITEM.c.datasets)
        return sa.select(names.c.value).where(like(names.c.value, value)).correlate(ITEM).exists()
    if field == "source":
        listing = schema.listing
        listed = sa.and_(listing.c.item_id == OTHER.c.id, like(listing.c.source, value))
        return _has(OTHER.c.name == ITEM.c.name, OTHER.c.kind == CATALOG, listed)
    if field == "classes":
        table = schema.class_name
        of_item = table.c.manifest == ITEM.c.manifest
        return _has(of_item, like(table.c.name, terms.fold(value)))
    table = schema.parent
    digits = digits_of(value)
    known = like(table.c.parent, f"blake3:{digits}*") if digits else sa.false()
    named = sa.or_(like(table.c.ref, value), known)
    return _has(table.c.manifest == ITEM.c.manifest, named)


def _terms(field: str, value: str) -> Iterator[list[list[str]]]:
    """The terms of a text that an item has; none for what the index of terms does not know."""
    if "*" not in value and field not in PARTS:
        yield [[terms.whole(value)]]
    elif field != "classes" and not (field == "parent" and digits_of(value)):
        for piece in value.split("*"):
            if parts := terms.part(piece):
                yield parts


def _listed_by(source: str) -> sa.Select[tuple[int]]:
    listing = schema.listing
    named = sa.select(ITEM.c.id).join(OTHER, OTHER.c.name == ITEM.c.name)
    listed = named.join(listing, listing.c.item_id == OTHER.c.id)
    return listed.where(like(listing.c.source, source))


def _measures(each: Filter) -> Condition:
    measure = schema.measure
    compared = OPERATORS[each.operator](measure.c.value, _number(each.value))
    return sa.and_(measure.c.name == each.metric, compared)


def _dated(operator: str, day: str) -> Condition:
    # A date stands for all of its day, month or year.
    updated = ITEM.c.updated
    if operator == "=":
        # Two conditions, as PostgreSQL takes no collation within BETWEEN.
        return sa.and_(updated >= day, updated <= day + AFTER)
    bound: Condition = OPERATORS[operator](updated, day + AFTER if operator in ("<=", ">") else day)
    return bound


def _number(value: Any) -> Expression:
    # By its own type, not by the column's: an engine would round it to that.
    whole = float(value).is_integer() and abs(value) <= LARGEST
    return sa.literal(int(value), Whole) if whole else sa.literal(float(value), sa.Float)
