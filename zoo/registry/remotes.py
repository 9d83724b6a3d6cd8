"""Remotes: what their names pointed at when they were last asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy import Connection, Row, delete, insert, select

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.registry import items, schema
from zoo.registry.sql import Columns, among

__all__ = [
    "RemoteRef",
    "at_remotes",
    "holders",
    "note_remote",
    "remote_names",
    "remote_refs",
    "replace_remote",
    "summary",
]

TABLE = schema.remote_ref

HIDDEN = ("text", "source", "locator")
"""What is kept of a checkpoint for searches alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRef:
    """A name at a remote, as it was when that was asked last.

    Attributes:
        remote: The remote's short name.
        ref: The name.
        number: Which entry of its ref log.
        manifest: What it points at.
        at: When it moved there, UTC, ISO 8601.
        by: Who moved it; None if an earlier version has fetched it.
        note: What was said of that.
        history: What it pointed at before; None if nobody has asked.
    """

    remote: str
    ref: Reference
    number: int
    manifest: Digest
    at: str
    by: str | None = None
    note: str | None = None
    history: tuple[Digest, ...] | None = None


def replace_remote(
    connection: Connection,
    remote: str,
    refs: Mapping[Reference, RefEntry],
    histories: Mapping[Reference, Sequence[Digest]] = MappingProxyType({}),
) -> None:
    """Make what is known of ``remote`` exactly ``refs``; of some it is known what they were."""
    connection.execute(delete(TABLE).where(TABLE.c.remote == remote))
    rows = [_row(remote, ref, entry, histories.get(ref)) for ref, entry in refs.items()]
    if rows:
        connection.execute(insert(TABLE), rows)
    items.refresh(connection, items.of_remotes())


def note_remote(connection: Connection, remote: str, ref: Reference, entry: RefEntry) -> None:
    """Make what is known of one name of ``remote`` its newest ``entry``, unless that, or a newer
    one, is known: a fetch may have run while the checkpoint was copied.
    """
    known = select(TABLE.c.number).where(TABLE.c.remote == remote, items.is_ref(TABLE, ref))
    if (connection.scalar(known) or 0) >= entry.number:
        return
    connection.execute(delete(TABLE).where(TABLE.c.remote == remote, items.is_ref(TABLE, ref)))
    if not entry.deleted:
        connection.execute(insert(TABLE), [_row(remote, ref, entry, None)])
    items.refresh(connection, items.of_names([ref.path]))


def remote_refs(connection: Connection, remote: str) -> dict[Reference, RemoteRef]:
    """What is known of ``remote``."""
    rows = connection.execute(select(TABLE).where(TABLE.c.remote == remote))
    return {known.ref: known for known in map(_read, rows)}


def at_remotes(connection: Connection, refs: Iterable[Reference]) -> list[RemoteRef]:
    """What the remotes have under these names, by remote."""
    wanted, item = set(refs), items.ITEM
    # Names have an index among the items, and checkpoints among the names at remotes.
    named = select(item.c.manifest).where(
        items.IS_NAMED, item.c.kind == items.REMOTE, among(item.c.name, {r.path for r in wanted})
    )
    manifests = connection.scalars(named).all()
    if not manifests:
        return []
    statement = select(TABLE).where(among(TABLE.c.manifest, set(manifests)))
    rows = connection.execute(statement.order_by(TABLE.c.remote))
    return [known for known in map(_read, rows) if known.ref in wanted]


def _row(remote: str, ref: Reference, entry: RefEntry, history: Sequence[Digest] | None) -> Columns:
    return {
        "remote": remote,
        "namespace": ref.namespace,
        "name": ref.name,
        "tag": ref.tag,
        "number": entry.number,
        "manifest": str(entry.manifest),
        "at": entry.at,
        "author": entry.by,
        "note": entry.note or None,
        "history": None if history is None else [str(digest) for digest in history],
    }


def _read(row: Row[object]) -> RemoteRef:
    return RemoteRef(
        remote=row.remote,
        ref=Reference(row.namespace, row.name, row.tag),
        number=row.number,
        manifest=Digest.parse(row.manifest),
        at=row.at,
        by=row.author,
        note=row.note,
        history=None if row.history is None else tuple(map(Digest.parse, row.history)),
    )


def holders(connection: Connection, ref: Reference) -> dict[str, Digest]:
    """The remotes that have this name, sorted, each with what it points at there."""
    statement = select(TABLE.c.remote, TABLE.c.manifest).where(items.is_ref(TABLE, ref))
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


def summary(connection: Connection, digest: Digest) -> Columns | None:
    """What is indexed of a checkpoint, as plain data; None if it is not indexed.

    The names of its classes are not told: they are indexed in lower case, to be searched.
    """
    table = schema.checkpoint
    row = connection.execute(select(table).where(table.c.manifest == str(digest))).one_or_none()
    if row is None:
        return None
    metric, parent = schema.metric, schema.parent
    metrics = connection.execute(select(metric).where(metric.c.manifest == str(digest)))
    parents = connection.execute(select(parent).where(parent.c.manifest == str(digest)))
    return {
        **{key: value for key, value in row._mapping.items() if key not in HIDDEN},
        "metrics": {each.name: each.value for each in metrics},
        "parents": [
            {"ref": each.ref, "manifest": each.parent, "relation": each.relation}
            for each in parents
        ],
    }
