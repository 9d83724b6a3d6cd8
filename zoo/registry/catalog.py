"""Catalog: what the sources list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from zoo.domain.catalog import CatalogEntry, Location
from zoo.registry import schema
from zoo.registry.hierarchies import known_params

__all__ = ["KnownEntry", "entry", "indexed_version", "input_size", "replace_entries", "vector"]

TEXT = ("name", "backbone", "architecture", "tag", "license", "hub_id")
PLAIN = (*TEXT, "interpolation", "crop_pct", "crop_mode", "num_classes")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownEntry:
    """A catalog entry with all that its sources know together.

    Attributes:
        entry: The merged entry; its own ``location`` is None.
        sources: The sources that list it, sorted.
        locations: Where its weights can be had.
        params: Number of parameter elements, if the architecture's hierarchy is known.
    """

    entry: CatalogEntry
    sources: tuple[str, ...]
    locations: tuple[Location, ...]
    params: int | None


def indexed_version(connection: Connection, source: str) -> str | None:
    """The version of ``source`` that was indexed last; None if it never was."""
    table = schema.source
    return connection.scalar(select(table.c.version).where(table.c.name == source))


def replace_entries(
    connection: Connection, source: str, version: str, entries: Sequence[CatalogEntry], at: str
) -> int:
    """Make the listings of ``source`` exactly ``entries``; the number of distinct names."""
    locations: dict[str, Location | None] = {}
    for each in entries:
        locations[each.name] = each.location or locations.get(each.name)
    _record(connection, source, version, len(locations), at)
    _upsert(connection, entries)
    _relist(connection, source, locations)
    _rewrite_text(connection, source)
    listed = select(schema.listing.c.entry_id)
    connection.execute(delete(schema.entry).where(schema.entry.c.id.not_in(listed)))
    return len(locations)


def entry(connection: Connection, name: str) -> KnownEntry | None:
    """The entry of exactly this name."""
    table, listing = schema.entry, schema.listing
    params = known_params(table.c.backbone, table.c.architecture).label("params")
    row = connection.execute(select(table, params).where(table.c.name == name)).one_or_none()
    if row is None:
        return None
    listings = connection.execute(
        select(listing).where(listing.c.entry_id == row.id).order_by(listing.c.source)
    ).all()
    places = [Location(x.location_source, x.locator) for x in listings if x.locator is not None]
    return KnownEntry(
        entry=_from_row(row),
        sources=tuple(listed.source for listed in listings),
        locations=tuple(dict.fromkeys(places)),
        params=row.params,
    )


def input_size(row: Row[Any]) -> tuple[int, int, int] | None:
    """The input size in a row that has the columns of a preprocessing."""
    return None if row.channels is None else (row.channels, row.height, row.width)


def vector(values: Iterable[float] | None) -> tuple[float, ...] | None:
    """Per-channel values as JSON gives them back."""
    return None if values is None else tuple(values)


def _record(connection: Connection, source: str, version: str, count: int, at: str) -> None:
    statement = insert(schema.source).values(
        name=source, version=version, indexed_at=at, entries=count
    )
    changed = {key: statement.excluded[key] for key in ("version", "indexed_at", "entries")}
    connection.execute(
        statement.on_conflict_do_update(index_elements=[schema.source.c.name], set_=changed)
    )


def _upsert(connection: Connection, entries: Sequence[CatalogEntry]) -> None:
    if not entries:
        return
    table = schema.entry
    statement = insert(table)
    # What this source does not know (NULL) leaves what another one told.
    merged = {
        column.name: func.coalesce(statement.excluded[column.name], column)
        for column in table.c
        if column.name not in ("id", "name", "text")
    }
    connection.execute(
        statement.on_conflict_do_update(index_elements=[table.c.name], set_=merged),
        [_to_row(each) for each in entries],
    )


def _relist(connection: Connection, source: str, locations: dict[str, Location | None]) -> None:
    table, listing = schema.entry, schema.listing
    connection.execute(delete(listing).where(listing.c.source == source))
    if not locations:
        return
    ids = {row.name: row.id for row in connection.execute(select(table.c.id, table.c.name))}
    rows = [
        {
            "entry_id": ids[name],
            "source": source,
            "location_source": place.source if place else None,
            "locator": place.locator if place else None,
        }
        for name, place in locations.items()
    ]
    connection.execute(insert(listing), rows)


def _rewrite_text(connection: Connection, source: str) -> None:
    # Only now are the merged values known; in Python, because SQLite lowers ASCII only.
    table, listing = schema.entry, schema.listing
    rows = connection.execute(
        select(table)
        .join(listing, listing.c.entry_id == table.c.id)
        .where(listing.c.source == source)
    )
    changed = [{"row": row.id, "words": words} for row in rows if (words := _text(row)) != row.text]
    if changed:
        statement = update(table).where(table.c.id == bindparam("row"))
        connection.execute(statement.values(text=bindparam("words")), changed)


def _text(row: Row[Any]) -> str:
    return " ".join(value for key in TEXT if (value := row._mapping[key])).lower()


def _to_row(each: CatalogEntry) -> dict[str, Any]:
    channels, height, width = each.input_size or (None, None, None)
    return {
        **{key: getattr(each, key) for key in PLAIN},
        "channels": channels,
        "height": height,
        "width": width,
        "mean": each.mean,
        "std": each.std,
        "text": "",
    }


def _from_row(row: Row[Any]) -> CatalogEntry:
    return CatalogEntry(
        **{key: row._mapping[key] for key in PLAIN},
        input_size=input_size(row),
        mean=vector(row.mean),
        std=vector(row.std),
    )
