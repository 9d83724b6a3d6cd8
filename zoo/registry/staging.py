"""Staging: what a source says, laid down before anything is locked, and compared at once.

A source may take an hour to list what it has. The registry is locked only afterwards, and only what
differs from what the source said before is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from hashlib import blake2b
from itertools import islice
from operator import attrgetter

import msgspec
import sqlalchemy as sa

from zoo.domain.catalog import CatalogEntry, Location
from zoo.registry import schema
from zoo.registry.items import CATALOG
from zoo.registry.sql import Columns, Text, Whole, insert_many

__all__ = ["changed", "count", "discard", "stage", "unlisted"]

BATCH = 10_000
ITEM, LISTING = schema.item, schema.listing
NAMES = tuple(field.name for field in fields(CatalogEntry) if field.name != "location")
VALUES = attrgetter(*NAMES)

TOLD = sa.Table(
    "told",
    sa.MetaData(),
    sa.Column("position", Whole, primary_key=True),
    sa.Column("name", Text, nullable=False),
    sa.Column("fingerprint", Whole, nullable=False),
    sa.Column("data", Text, nullable=False),
    prefixes=["TEMPORARY"],
)


def stage(connection: sa.Connection, entries: Iterable[CatalogEntry]) -> None:
    """Lay down what a source says, for this connection alone."""
    discard(connection)
    TOLD.create(connection, checkfirst=False)
    numbered = enumerate(entries)
    while rows := [_to_row(*each) for each in islice(numbered, BATCH)]:
        insert_many(connection, TOLD, rows)


def discard(connection: sa.Connection) -> None:
    """Forget what was laid down."""
    TOLD.drop(connection, checkfirst=True)


def count(connection: sa.Connection) -> int:
    """The number of distinct names."""
    return connection.scalar(sa.select(sa.func.count(TOLD.c.name.distinct()))) or 0


def changed(connection: sa.Connection, source: str) -> Iterator[list[tuple[CatalogEntry, int]]]:
    """What is new, or not as this source said it before, with its fingerprint; in batches."""
    statement = (
        sa.select(TOLD.c.position)
        .outerjoin(ITEM, sa.and_(ITEM.c.name == TOLD.c.name, ITEM.c.kind == CATALOG))
        .outerjoin(LISTING, sa.and_(LISTING.c.item_id == ITEM.c.id, LISTING.c.source == source))
        .where(LISTING.c.fingerprint.is_distinct_from(TOLD.c.fingerprint))
        .order_by(TOLD.c.position)
    )
    wanted = list(connection.scalars(statement))
    for at in range(0, len(wanted), BATCH):
        page = wanted[at : at + BATCH]
        ours = set(page)  # between them may be some that did not change
        rows = connection.execute(sa.select(TOLD).where(TOLD.c.position.between(page[0], page[-1])))
        yield [(_from_json(row.data), row.fingerprint) for row in rows if row.position in ours]


def unlisted(connection: sa.Connection, source: str) -> list[int]:
    """The items that the source listed before, and does not any more."""
    theirs = LISTING.c.source == source
    listed = sa.select(ITEM.c.name).join(LISTING, LISTING.c.item_id == ITEM.c.id).where(theirs)
    # Not by NOT IN, for which PostgreSQL reads all of a large temporary table again for each item.
    gone = listed.except_(sa.select(TOLD.c.name))
    statement = (
        sa.select(LISTING.c.item_id)
        .join(ITEM, ITEM.c.id == LISTING.c.item_id)
        .where(theirs, ITEM.c.name.in_(gone))
    )
    return list(connection.scalars(statement))


def _to_row(position: int, entry: CatalogEntry) -> Columns:
    place = entry.location and (entry.location.source, entry.location.locator)
    data = msgspec.json.encode([*VALUES(entry), place])
    digest = blake2b(data, digest_size=8).digest()
    fingerprint = int.from_bytes(digest, signed=True)
    return {
        "position": position,
        "name": entry.name,
        "fingerprint": fingerprint,
        "data": data.decode(),
    }


def _from_json(data: str) -> CatalogEntry:
    *values, place = msgspec.json.decode(data)
    known: Columns = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in zip(NAMES, values, strict=True)
    }
    return CatalogEntry(**known, location=Location(*place) if place else None)
