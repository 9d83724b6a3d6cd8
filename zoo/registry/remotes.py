"""Remotes: what their names pointed at when they were last asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.registry import items, schema

__all__ = ["holders", "moves", "remote_names", "replace_remote", "summary"]

TABLE = schema.remote_ref


def replace_remote(connection: Connection, remote: str, refs: Mapping[Reference, RefEntry]) -> None:
    """Make what is known of ``remote`` exactly ``refs``."""
    connection.execute(delete(TABLE).where(TABLE.c.remote == remote))
    rows = [
        {
            "remote": remote,
            "namespace": ref.namespace,
            "name": ref.name,
            "tag": ref.tag,
            "number": entry.number,
            "manifest": str(entry.manifest),
            "at": entry.at,
        }
        for ref, entry in refs.items()
    ]
    if rows:
        connection.execute(insert(TABLE), rows)
    items.refresh(connection, items.of_remotes())


def moves(connection: Connection, remote: str) -> dict[Reference, int]:
    """The number of the move at which each name of ``remote`` was."""
    columns = TABLE.c.namespace, TABLE.c.name, TABLE.c.tag, TABLE.c.number
    rows = connection.execute(select(*columns).where(TABLE.c.remote == remote))
    return {Reference(row.namespace, row.name, row.tag): row.number for row in rows}


def holders(connection: Connection, ref: Reference) -> dict[str, Digest]:
    """The remotes that have this name, sorted, each with what it points at there."""
    statement = select(TABLE.c.remote, TABLE.c.manifest).where(
        TABLE.c.namespace == ref.namespace, TABLE.c.name == ref.name, TABLE.c.tag == ref.tag
    )
    rows = connection.execute(statement.order_by(TABLE.c.remote))
    return {row.remote: Digest.parse(row.manifest) for row in rows}


def all_names(connection: Connection) -> list[tuple[str, Reference, Digest]]:
    """What every name at every remote points at."""
    rows = connection.execute(select(TABLE))
    return [
        (row.remote, Reference(row.namespace, row.name, row.tag), Digest.parse(row.manifest))
        for row in rows
    ]


def remote_names(connection: Connection, digest: Digest) -> list[Reference]:
    """The names that some remote has for a checkpoint, sorted."""
    statement = select(TABLE.c.namespace, TABLE.c.name, TABLE.c.tag).where(
        TABLE.c.manifest == str(digest)
    )
    return sorted({Reference(*row) for row in connection.execute(statement)})


def summary(connection: Connection, digest: Digest) -> dict[str, Any] | None:
    """What is indexed of a checkpoint, as plain data; None if it is not indexed."""
    table = schema.checkpoint
    row = connection.execute(select(table).where(table.c.manifest == str(digest))).one_or_none()
    if row is None:
        return None
    metric, parent, name = schema.metric, schema.parent, schema.class_name
    metrics = connection.execute(select(metric).where(metric.c.manifest == str(digest)))
    parents = connection.execute(select(parent).where(parent.c.manifest == str(digest)))
    classes = connection.scalars(
        select(name.c.name).where(name.c.manifest == str(digest)).order_by(name.c.position)
    )
    return {
        **{key: value for key, value in row._mapping.items() if key != "text"},
        "metrics": {each.name: each.value for each in metrics},
        "parents": [
            {"ref": each.ref, "manifest": each.parent, "relation": each.relation}
            for each in parents
        ],
        "classes": list(classes),
    }
