"""Hierarchies: what the layers of an architecture are, kept so that nobody builds it twice."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, func, select
from sqlalchemy.dialects.sqlite import insert

from zoo.domain.hierarchy import Hierarchy
from zoo.registry import schema

__all__ = ["any_hierarchy", "hierarchy", "keep_hierarchy", "known_params"]

TABLE = schema.hierarchy


def keep_hierarchy(connection: Connection, plugin: str, version: str, hierarchy: Hierarchy) -> None:
    """Keep what version ``version`` of a backbone plugin says of one architecture."""
    statement = insert(TABLE).values(
        plugin=plugin,
        version=version,
        architecture=hierarchy.architecture,
        params=hierarchy.params,
        data=hierarchy.to_json(),
    )
    new = statement.excluded
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(TABLE.primary_key.columns),
            set_={"params": new.params, "data": new.data},
        )
    )


def hierarchy(
    connection: Connection, plugin: str, version: str, architecture: str
) -> Hierarchy | None:
    """The hierarchy kept for exactly this version of the plugin."""
    statement = select(TABLE.c.data).where(
        TABLE.c.plugin == plugin,
        TABLE.c.version == version,
        TABLE.c.architecture == architecture,
    )
    data = connection.scalar(statement)
    return None if data is None else Hierarchy.from_json(data)


def any_hierarchy(connection: Connection, plugin: str, architecture: str) -> Hierarchy | None:
    """A hierarchy that some version of the plugin gave: good enough to count with."""
    statement = (
        select(TABLE.c.data)
        .where(TABLE.c.plugin == plugin, TABLE.c.architecture == architecture)
        .order_by(TABLE.c.version.desc())
        .limit(1)
    )
    data = connection.scalar(statement)
    return None if data is None else Hierarchy.from_json(data)


def known_params(plugin: ColumnElement[str], architecture: ColumnElement[str]) -> ScalarSelect[Any]:
    """The parameter count of an architecture, by any version of its plugin; NULL if unknown."""
    return (
        select(func.max(TABLE.c.params))
        .where(TABLE.c.plugin == plugin, TABLE.c.architecture == architecture)
        .scalar_subquery()
    )
