"""Hierarchies: what the layers of an architecture are, kept so that nobody builds it twice."""

from __future__ import annotations

from sqlalchemy import Connection, and_, func, select, union

from zoo.domain.hierarchy import Hierarchy
from zoo.registry import items, schema
from zoo.registry.sql import Columns, put

__all__ = [
    "any_hierarchy",
    "architectures",
    "backbones_of",
    "hierarchy",
    "keep_hierarchy",
    "keep_network",
    "network",
    "traced",
]

TABLE = schema.hierarchy
NETWORK = schema.network


def keep_hierarchy(connection: Connection, plugin: str, version: str, hierarchy: Hierarchy) -> None:
    """Keep what version ``version`` of a backbone plugin says of one architecture."""
    row = {
        "plugin": plugin,
        "version": version,
        "architecture": hierarchy.architecture,
        "params": hierarchy.params,
        "data": hierarchy.to_json(),
    }
    put(connection, TABLE, [row], ("params", "data"))
    known = select(func.max(TABLE.c.params)).where(
        TABLE.c.plugin == plugin, TABLE.c.architecture == hierarchy.architecture
    )
    params = connection.scalar(known)
    item = items.ITEM.c
    theirs = items.read(
        connection,
        and_(
            item.architecture == hierarchy.architecture,
            item.backbone == plugin,
            item.kind == items.CATALOG,
            item.params.is_distinct_from(params),
        ),
    )
    items.change(connection, theirs, [{**row, "params": params} for row in theirs])


def hierarchy(
    connection: Connection, plugin: str, version: str, architecture: str
) -> Hierarchy | None:
    """The hierarchy kept for exactly this version of the plugin."""
    statement = select(TABLE.c.data).where(
        TABLE.c.plugin == plugin,
        TABLE.c.version == version,
        TABLE.c.architecture == architecture,
    )
    return _from_json(connection.scalar(statement))


def keep_network(
    connection: Connection, plugin: str, version: str, network: str, hierarchy: Hierarchy
) -> None:
    """Keep what version ``version`` of a backbone plugin says of a network that is not as its
    architecture has it; ``network`` tells of how it differs.
    """
    row = {"plugin": plugin, "version": version, "network": network, "data": hierarchy.to_json()}
    put(connection, NETWORK, [row], ("data",))


def network(connection: Connection, plugin: str, version: str, network: str) -> Hierarchy | None:
    """What was kept for exactly this version of the plugin and this network."""
    statement = select(NETWORK.c.data).where(
        NETWORK.c.plugin == plugin,
        NETWORK.c.version == version,
        NETWORK.c.network == network,
    )
    return _from_json(connection.scalar(statement))


def backbones_of(connection: Connection, architecture: str) -> set[str]:
    """The backbone plugins that are known to have an architecture of that name: something of theirs
    is listed or here, or it was traced.
    """
    item = schema.item.c
    listed = select(item.backbone).where(item.architecture == architecture)
    kept = select(TABLE.c.plugin).where(TABLE.c.architecture == architecture)
    return set(connection.scalars(union(listed, kept)))


def architectures(connection: Connection, source: str) -> dict[str, set[str]]:
    """The architectures of all entries that ``source`` lists, by backbone plugin."""
    item, listing = schema.item, schema.listing
    rows = connection.execute(
        select(item.c.backbone, item.c.architecture)
        .distinct()
        .join(listing, listing.c.item_id == item.c.id)
        .where(listing.c.source == source)
    )
    by_plugin: dict[str, set[str]] = {}
    for plugin, architecture in rows:
        by_plugin.setdefault(plugin, set()).add(architecture)
    return by_plugin


def traced(connection: Connection, plugin: str, version: str) -> set[str]:
    """The architectures whose hierarchy is kept for exactly this version of the plugin."""
    statement = select(TABLE.c.architecture).where(
        TABLE.c.plugin == plugin, TABLE.c.version == version
    )
    return set(connection.scalars(statement))


def any_hierarchy(connection: Connection, plugin: str, architecture: str) -> Hierarchy | None:
    """A hierarchy that some version of the plugin gave: good enough to count with."""
    statement = (
        select(TABLE.c.data)
        .where(TABLE.c.plugin == plugin, TABLE.c.architecture == architecture)
        .order_by(TABLE.c.version.desc())
        .limit(1)
    )
    return _from_json(connection.scalar(statement))


def _from_json(data: Columns | None) -> Hierarchy | None:
    """A hierarchy that was kept; None if there is none, or none that can be read."""
    if data is None:
        return None
    try:
        return Hierarchy.from_json(data)
    except (AttributeError, LookupError, TypeError, ValueError):
        return None  # whoever asked traces the network, and keeps that
