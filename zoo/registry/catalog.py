"""Catalog: what the sources list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, and_, delete, func, select, update

from zoo.domain.catalog import OPEN, CatalogEntry, Location
from zoo.domain.manifest import Manifest
from zoo.registry import index, items, schema, staging
from zoo.registry.items import CATALOG, ITEM
from zoo.registry.sql import Columns, among, insert, put

__all__ = [
    "KnownEntry",
    "add_entries",
    "entry",
    "forget_entries",
    "indexed_version",
    "input_size",
    "published_macs",
    "replace_entries",
    "vector",
]

PLAIN = (
    *items.TEXT,
    "interpolation",
    "crop_pct",
    "crop_mode",
    "num_classes",
    "params",
    "card",
    "updated",
    "metrics",
    "facts",
)
LISTS = ("mean", "std", "datasets", "keywords")
TOLD = (*PLAIN, *LISTS, "input_size")
VALUES = attrgetter(*TOLD)

LISTING = schema.listing


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


def replace_entries(connection: Connection, source: str, version: str, at: str) -> int:
    """Make the listings of ``source`` exactly what is staged; the number of distinct names."""
    total = staging.count(connection)
    known = connection.scalar(select(func.max(ITEM.c.id))) or 0
    _record(connection, source, version, total, at)
    params = _params(connection)
    for entries in staging.changed(connection, source):
        _merge(connection, source, entries, params)
    _unlist(connection, source, staging.unlisted(connection, source))
    _tell_macs(connection)
    if total > max(index.MANY[connection.dialect.name], known):
        index.optimize(connection)
    return total


def add_entries(connection: Connection, source: str, version: str, at: str) -> int:
    """Add what is staged to the listings of ``source``; how many it then has."""
    _record(connection, source, version, 0, at)
    params = _params(connection)
    for entries in staging.changed(connection, source):
        _merge(connection, source, entries, params)
    _tell_macs(connection)
    total = _count(connection, source)
    _record(connection, source, version, total, at)
    return total


def forget_entries(
    connection: Connection, source: str, version: str | None, author: str | None, at: str
) -> int:
    """Forget what ``source`` lists, or only what belongs to ``author``; how many that were.

    ``version`` is what the rest is kept with; None: there is no rest.
    """
    listed = select(LISTING.c.item_id).where(LISTING.c.source == source)
    if author is not None:
        named = ITEM.c.name.startswith(f"{author}/", autoescape=True)
        listed = listed.join(ITEM, ITEM.c.id == LISTING.c.item_id).where(named)
    gone = list(connection.scalars(listed))
    _unlist(connection, source, gone)
    if version is None:
        connection.execute(delete(schema.source).where(schema.source.c.name == source))
    else:
        _record(connection, source, version, _count(connection, source), at)
    return len(gone)


def entry(connection: Connection, name: str) -> KnownEntry | None:
    """The entry of exactly this name."""
    rows = items.read(connection, and_(ITEM.c.name == name, ITEM.c.kind == CATALOG))
    if not rows:
        return None
    row = rows[0]
    listings = connection.execute(
        select(LISTING).where(LISTING.c.item_id == row["id"]).order_by(LISTING.c.source)
    ).all()
    places = [Location(x.location_source, x.locator) for x in listings if x.locator is not None]
    lists: Columns = {key: vector(row[key]) for key in LISTS}
    return KnownEntry(
        entry=CatalogEntry(**{key: row[key] for key in PLAIN}, **lists, input_size=input_size(row)),
        sources=tuple(listed.source for listed in listings),
        locations=tuple(dict.fromkeys(places)),
        params=row["params"],
    )


def published_macs(connection: Connection, manifest: Manifest) -> float | None:
    """Multiply-accumulates that entries of the same network and input size have; of several, which
    differ in their heads, the least. None: no entry tells, or the network was changed.
    """
    backbone, measure = manifest.backbone, schema.measure
    changed = backbone.options.keys() - {"num_classes", "image_size", "lora"}
    columns, size = (
        (ITEM.c.channels, ITEM.c.height, ITEM.c.width),
        manifest.preprocessing.input_size,
    )
    same = (
        ITEM.c.kind == CATALOG,
        ITEM.c.backbone == backbone.plugin,
        ITEM.c.architecture == backbone.architecture,
        *(column == value for column, value in zip(columns, size, strict=True)),
    )
    statement = select(func.min(measure.c.value)).join(ITEM, ITEM.c.id == measure.c.item_id)
    found = statement.where(measure.c.name == items.MACS, *same)
    return None if changed else connection.scalar(found)


def licenses(connection: Connection, names: Iterable[str]) -> dict[str, str | None]:
    """Licenses of the entries among ``names``."""
    statement = select(ITEM.c.name, ITEM.c.license).where(
        among(ITEM.c.name, set(names)), ITEM.c.kind == CATALOG
    )
    return {row.name: row.license for row in connection.execute(statement)}


def input_size(row: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """The input size in a row that has the columns of a preprocessing."""
    return None if row["channels"] is None else (row["channels"], row["height"], row["width"])


def vector(values: Iterable[object] | None) -> tuple[Any, ...] | None:
    """A list as JSON gives it back."""
    return None if values is None else tuple(values)


def _count(connection: Connection, source: str) -> int:
    listed = select(func.count()).select_from(LISTING).where(LISTING.c.source == source)
    return connection.scalar(listed) or 0


def _record(connection: Connection, source: str, version: str, count: int, at: str) -> None:
    row = {"name": source, "version": version, "indexed_at": at, "entries": count}
    put(connection, schema.source, [row], ("version", "indexed_at", "entries"))


def _params(connection: Connection) -> dict[tuple[str, str], int]:
    """What is known of architectures, by plugin and name."""
    table = schema.hierarchy
    rows = connection.execute(
        select(
            table.c.plugin, table.c.architecture, func.max(table.c.params).label("params")
        ).group_by(table.c.plugin, table.c.architecture)
    )
    return {(row.plugin, row.architecture): row.params for row in rows}


def _merge(
    connection: Connection,
    source: str,
    told: list[tuple[CatalogEntry, int]],
    params: dict[tuple[str, str], int],
) -> None:
    """Take in what the source says; what it does not know (None) leaves what another one told."""
    names = {each.name for each, _ in told}
    here = and_(ITEM.c.kind == CATALOG, among(ITEM.c.name, names))
    old = {row["name"]: row for row in items.read(connection, here)}
    new: dict[str, Columns] = {}
    for each, _ in told:
        before: Columns = new.get(each.name) or old.get(each.name) or BLANK
        row = {**before, **_facts(each)}
        row["params"] = params.get((row["backbone"], row["architecture"]), row["params"])
        if source not in OPEN and before["metrics"]:  # those of tables of results stay
            row["metrics"] = {**before["metrics"], **row["metrics"]}
        new[each.name] = {**row, "text": items.search_text(row)}
    items.add(connection, [row for name, row in new.items() if name not in old])
    moved = [name for name, row in old.items() if new[name] != row]
    items.change(connection, [old[name] for name in moved], [new[name] for name in moved])
    _list(connection, source, told, {name: row["id"] for name, row in new.items()})
    # The other sources' own words, said once more, are to count again.
    theirs = and_(
        LISTING.c.source != source, among(LISTING.c.item_id, [old[n]["id"] for n in moved])
    )
    if moved:
        connection.execute(update(LISTING).where(theirs).values(fingerprint=None))
    _refresh_named(connection, names)


BLANK = {column.name: None for column in ITEM.c if column.name != "id"} | {
    "card": None,
    "kind": CATALOG,
    "ref_tag": "",
    "manifest": "",
}


def _facts(each: CatalogEntry) -> Columns:
    """What an entry says, as columns; not what it does not know."""
    pairs = zip(TOLD, VALUES(each), strict=True)
    known: Columns = {key: value for key, value in pairs if value is not None}
    known |= {key: list(known[key]) for key in LISTS if key in known}
    if size := known.pop("input_size", None):
        known |= zip(("channels", "height", "width"), size, strict=True)
    return known


def _list(
    connection: Connection,
    source: str,
    entries: list[tuple[CatalogEntry, int]],
    ids: dict[str, int],
) -> None:
    places = {each.name: each.location for each, _ in entries if each.location}
    rows = [
        {
            "item_id": ids[name],
            "source": source,
            "location_source": places[name].source if name in places else None,
            "locator": places[name].locator if name in places else None,
            "fingerprint": fingerprint,
        }
        for name, fingerprint in {each.name: fingerprint for each, fingerprint in entries}.items()
    ]
    put(connection, LISTING, rows, ("location_source", "locator", "fingerprint"))


def _unlist(connection: Connection, source: str, gone: list[int]) -> None:
    """Forget that the source lists these, and those that no source lists any more."""
    if not gone:
        return
    listed = and_(LISTING.c.source == source, among(LISTING.c.item_id, gone))
    names = set(connection.scalars(select(ITEM.c.name).where(among(ITEM.c.id, gone))))
    connection.execute(delete(LISTING).where(listed))
    left = select(LISTING.c.item_id).where(LISTING.c.item_id == ITEM.c.id).exists()
    items.drop(connection, items.read(connection, and_(among(ITEM.c.id, gone), ~left)))
    _refresh_named(connection, names)


def _tell_macs(connection: Connection) -> None:
    """Have the checkpoints read again of whose network an entry has the multiply-accumulates only
    now. Whether they are of exactly that network, their manifests say.
    """
    checkpoint, measure, metric = schema.checkpoint, schema.measure, schema.metric
    columns = ("backbone", "architecture", "channels", "height", "width")
    networks = (
        select(*(ITEM.c[name] for name in columns))
        .join(measure, measure.c.item_id == ITEM.c.id)
        .where(ITEM.c.kind == CATALOG, measure.c.name == items.MACS)
        .distinct()
        .subquery()
    )
    known = select(metric.c.manifest).where(metric.c.name == items.MACS)
    statement = (
        select(checkpoint.c.manifest)
        .join(networks, and_(*(networks.c[name] == checkpoint.c[name] for name in columns)))
        .where(checkpoint.c.manifest.not_in(known))
    )
    if rows := [{"manifest": each} for each in connection.scalars(statement)]:
        connection.execute(insert(connection, schema.unread).on_conflict_do_nothing(), rows)


def _refresh_named(connection: Connection, names: set[str]) -> None:
    """What is here under a name tells what the catalog knows of it, too."""
    named = select(ITEM.c.name).where(items.IS_NAMED, among(ITEM.c.name, names)).distinct()
    if shared := list(connection.scalars(named)):
        items.refresh(connection, items.of_names(shared))
