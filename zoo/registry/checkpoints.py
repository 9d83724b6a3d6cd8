"""Checkpoints: what the manifests in the store say, and the refs that name them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, Table, and_, delete, func, select

from zoo.domain.benched import Benched
from zoo.domain.change import trained_on
from zoo.domain.digest import Digest
from zoo.domain.evaluated import Evaluated
from zoo.domain.hierarchy import HeadPart, Hierarchy, Unit
from zoo.domain.history import RefEntry
from zoo.domain.limits import INDEXED_CLASSES
from zoo.domain.manifest import Manifest, Tensor
from zoo.domain.reference import Reference
from zoo.registry import items, schema
from zoo.registry.catalog import published_macs
from zoo.registry.hierarchies import any_hierarchy
from zoo.registry.items import MACS
from zoo.registry.sql import Columns, among, insert, put
from zoo.registry.terms import fold, join

__all__ = [
    "IndexedCheckpoint",
    "Note",
    "add_checkpoint",
    "announce",
    "children",
    "described",
    "drop_note",
    "drop_unread",
    "forget",
    "heirs",
    "notes",
    "of_architecture",
    "of_size",
    "derived_from",
    "parents",
    "ref",
    "refs",
    "refs_of",
    "refs_of_each",
    "remove_ref",
    "set_benches",
    "set_evaluations",
    "set_ref",
    "unknown",
    "unread",
]

NORM_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
BETTER = ("params", "dataset", "frozen", "text", "source", "locator", "note", "stated")
"""What may be known better once a checkpoint is indexed again."""


@dataclass(frozen=True, slots=True)
class IndexedCheckpoint:
    """What the index keeps of a checkpoint.

    Attributes:
        row: Of the table of checkpoints.
        facts: Rows of the tables that belong to it.
    """

    row: Columns
    facts: list[tuple[Table, list[Columns]]]


def described(connection: Connection, digest: Digest, manifest: Manifest) -> IndexedCheckpoint:
    """Read off a manifest what `add_checkpoint` puts in."""
    known = any_hierarchy(connection, manifest.backbone.plugin, manifest.backbone.architecture)
    row = _to_row(digest, manifest, _count_params(manifest, known))
    macs = published_macs(connection, manifest)
    return IndexedCheckpoint(
        row, _facts(str(digest), manifest, {} if macs is None else {MACS: macs})
    )


def add_checkpoint(connection: Connection, known: IndexedCheckpoint) -> None:
    """Index a checkpoint; once more changes nothing but what is known better, as parameters are."""
    put(connection, schema.checkpoint, [known.row], BETTER)
    for table, rows in known.facts:
        if rows:
            connection.execute(insert(connection, table).on_conflict_do_nothing(), rows)
    items.refresh(connection, items.of_manifest(known.row["manifest"]))
    items.measure_again(connection, known.row["manifest"])


def set_evaluations(
    connection: Connection, digest: Digest, evaluations: Iterable[Evaluated]
) -> None:
    """Let the evaluations of an indexed checkpoint be exactly these."""
    rows = [
        {
            "manifest": str(digest),
            "data_digest": each.data_digest,
            "data": each.data,
            "at": each.at,
            "metrics": dict(each.metrics),
        }
        for each in evaluations
    ]
    _set_measures(connection, schema.evaluation, digest, rows)


def set_benches(connection: Connection, digest: Digest, benches: Iterable[Benched]) -> None:
    """Let the benchmarks of an indexed checkpoint be exactly these."""
    rows = [
        {"manifest": str(digest), "name": name, "value": value}
        for each in benches
        for name, value in each.metrics.items()
    ]
    _set_measures(connection, schema.bench, digest, rows)


def _set_measures(
    connection: Connection, table: Table, digest: Digest, rows: Sequence[Mapping[str, object]]
) -> None:
    connection.execute(delete(table).where(table.c.manifest == str(digest)))
    if rows:
        connection.execute(insert(connection, table), rows)
    items.measure_again(connection, str(digest))


def unread(connection: Connection) -> list[Digest]:
    """What an earlier version indexed, and must be read again: it left out what is known now."""
    return [Digest.parse(text) for text in connection.scalars(select(schema.unread.c.manifest))]


def drop_unread(connection: Connection, still: Collection[Digest] = ()) -> None:
    """Note that all was read again but ``still``."""
    kept = schema.unread.c.manifest.in_([str(digest) for digest in still])
    connection.execute(delete(schema.unread).where(~kept))


def set_ref(connection: Connection, ref: Reference, entry: RefEntry) -> None:
    """Let ``ref`` point where ``entry`` says, unless a later entry is known already."""
    row = {
        "namespace": ref.namespace,
        "name": ref.name,
        "tag": ref.tag,
        "number": entry.number,
        "manifest": str(entry.manifest),
        "at": entry.at,
    }
    put(connection, schema.ref, [row], ("number", "manifest", "at"), newer="number")
    items.refresh(connection, items.at_ref(ref))


def remove_ref(connection: Connection, ref: Reference, entry: RefEntry) -> None:
    """Forget ``ref``, which ``entry`` deletes, unless a later entry is known already."""
    table = schema.ref
    earlier = table.c.number < entry.number
    connection.execute(delete(table).where(items.is_ref(table, ref), earlier))
    items.refresh(connection, items.at_ref(ref))


@dataclass(frozen=True, slots=True)
class Note:
    """That a name was about to move.

    Attributes:
        number: The note's own.
        ref: The name.
        at: When, UTC, ISO 8601.
    """

    number: int
    ref: Reference
    at: str


def announce(connection: Connection, ref: Reference, at: str) -> int:
    """Note that ``ref`` is about to move; the note's number."""
    row = {"namespace": ref.namespace, "name": ref.name, "tag": ref.tag, "at": at}
    key = connection.execute(insert(connection, schema.moving), row).inserted_primary_key
    assert key is not None  # a single row has one
    return int(key[0])


def notes(connection: Connection) -> list[Note]:
    """All notes, oldest first."""
    rows = connection.execute(select(schema.moving).order_by(schema.moving.c.id))
    return [Note(row.id, _reference(row), row.at) for row in rows]


def drop_note(connection: Connection, number: int) -> None:
    """Delete a note: its entry is indexed, or was not made."""
    connection.execute(delete(schema.moving).where(schema.moving.c.id == number))


def forget(connection: Connection, digests: Iterable[Digest]) -> None:
    """Forget checkpoints, and with them their metrics, classes and parents.

    What a remote still has a name for is remembered.
    """
    table, remote = schema.checkpoint, schema.remote_ref
    for digest in digests:
        named = select(remote.c.remote).where(remote.c.manifest == str(digest)).exists()
        lost = connection.scalar(
            select(table.c.manifest).where(table.c.manifest == str(digest), ~named)
        )
        if lost is not None:
            # First, as what an item is found by goes with the checkpoint.
            items.drop(
                connection,
                items.read(connection, and_(items.IS_NAMED, items.ITEM.c.manifest == lost)),
            )
            connection.execute(delete(table).where(table.c.manifest == lost))
        else:
            set_evaluations(connection, digest, ())
            set_benches(connection, digest, ())


def licenses(connection: Connection, digests: Iterable[Digest]) -> dict[Digest, str | None]:
    """Licenses of the indexed ones among ``digests``."""
    table = schema.checkpoint
    statement = select(table.c.manifest, table.c.license).where(
        among(table.c.manifest, set(map(str, digests)))
    )
    return {Digest.parse(row.manifest): row.license for row in connection.execute(statement)}


def unknown(connection: Connection, digests: Iterable[Digest]) -> set[Digest]:
    """Those of ``digests`` that are not indexed."""
    asked = {str(digest): digest for digest in digests}
    manifest = schema.checkpoint.c.manifest
    known = set(connection.scalars(select(manifest).where(among(manifest, asked))))
    return {digest for text, digest in asked.items() if text not in known}


def ref(connection: Connection, ref: Reference) -> Digest | None:
    """What ``ref`` points at."""
    of_ref = select(schema.ref.c.manifest).where(items.is_ref(schema.ref, ref))
    digest = connection.scalar(of_ref)
    return None if digest is None else Digest.parse(digest)


def refs(connection: Connection) -> list[tuple[Reference, Digest, int]]:
    """All refs, sorted, with what they point at and the number of the entry."""
    rows = connection.execute(select(schema.ref).order_by(*schema.ref.primary_key.columns))
    return [(_reference(row), Digest.parse(row.manifest), row.number) for row in rows]


def refs_of(connection: Connection, digest: Digest) -> list[Reference]:
    """The refs that point at a checkpoint, sorted."""
    table = schema.ref
    statement = select(table).where(table.c.manifest == str(digest))
    return [
        _reference(row)
        for row in connection.execute(statement.order_by(*table.primary_key.columns))
    ]


def of_size(connection: Connection, size: int, most: int) -> list[Digest]:
    """The checkpoints with about ``size`` bytes, a quarter more or less; the closest first."""
    bytes_, table = schema.checkpoint.c.bytes, schema.checkpoint
    statement = (
        select(table.c.manifest)
        .where(bytes_.between(size * 3 // 4, size * 5 // 4))
        .order_by(func.abs(bytes_ - size), table.c.manifest)
        .limit(most)
    )
    return [Digest.parse(text) for text in connection.scalars(statement)]


def refs_of_each(
    connection: Connection, digests: Iterable[Digest]
) -> dict[Digest, list[Reference]]:
    """The refs that point at each of some checkpoints, sorted; those without one are left out."""
    table = schema.ref
    statement = select(table).where(among(table.c.manifest, {str(digest) for digest in digests}))
    named: dict[Digest, list[Reference]] = {}
    for row in connection.execute(statement.order_by(*table.primary_key.columns)):
        named.setdefault(Digest.parse(row.manifest), []).append(_reference(row))
    return named


def children(connection: Connection, digest: Digest) -> list[Digest]:
    """The checkpoints that derive from this one directly, oldest first."""
    table, checkpoint = schema.parent, schema.checkpoint
    statement = (
        select(checkpoint.c.manifest)
        .where(
            checkpoint.c.manifest.in_(select(table.c.manifest).where(table.c.parent == str(digest)))
        )
        .order_by(checkpoint.c.created.nulls_first(), checkpoint.c.manifest)
    )
    return [Digest.parse(text) for text in connection.scalars(statement)]


def heirs(connection: Connection, digest: Digest) -> tuple[str, ...]:
    """The names of the checkpoints that derive from this one directly, sorted."""
    named = refs_of_each(connection, children(connection, digest))
    return tuple(sorted({str(ref) for refs in named.values() for ref in refs}))


def derived_from(connection: Connection, digits: str) -> tuple[Digest, str, Digest] | None:
    """A parent whose digest begins with these hex ``digits``, the name that it had, and a
    checkpoint here that derives from it; None if there is none.
    """
    table = schema.parent
    statement = (
        select(table.c.parent, table.c.ref, table.c.manifest)
        .where(table.c.parent.startswith(f"blake3:{digits}", autoescape=True))
        .order_by(table.c.parent, table.c.manifest)
        .limit(1)
    )
    row = connection.execute(statement).first()
    return (Digest.parse(row[0]), row[1], Digest.parse(row[2])) if row else None


def of_architecture(
    connection: Connection, backbone: str, architecture: str, limit: int
) -> list[Digest]:
    """The named checkpoints of an architecture: those that derive from nothing first, then those
    whose names have moved last.
    """
    table, ref, parent = schema.checkpoint, schema.ref, schema.parent
    derives = select(parent.c.manifest).where(parent.c.manifest == table.c.manifest).exists()
    statement = (
        select(table.c.manifest)
        .join(ref, ref.c.manifest == table.c.manifest)
        .where(table.c.backbone == backbone, table.c.architecture == architecture)
        .group_by(table.c.manifest)
        .order_by(derives, func.max(ref.c.at).desc(), table.c.manifest)
        .limit(limit)
    )
    return [Digest.parse(text) for text in connection.scalars(statement)]


def parents(connection: Connection, digest: Digest) -> list[Digest]:
    """The checkpoints that this one derives from directly, as far as it is indexed."""
    table = schema.parent
    statement = select(table.c.parent).where(table.c.manifest == str(digest)).distinct()
    return sorted(Digest.parse(text) for text in connection.scalars(statement))


def _reference(row: Row[object]) -> Reference:
    return Reference(row.namespace, row.name, row.tag)


def _to_row(digest: Digest, manifest: Manifest, params: int) -> Columns:
    pre = manifest.preprocessing
    channels, height, width = pre.input_size
    return {
        "manifest": str(digest),
        "backbone": manifest.backbone.plugin,
        "architecture": manifest.backbone.architecture,
        "head": manifest.head.kind,
        "num_classes": manifest.head.num_classes,
        "params": params,
        "bytes": manifest.logical_bytes,
        "license": manifest.license,
        "channels": channels,
        "height": height,
        "width": width,
        "mean": pre.mean,
        "std": pre.std,
        "interpolation": pre.interpolation,
        "crop_pct": pre.crop_pct,
        "crop_mode": pre.crop_mode,
        "recipe": None if manifest.recipe is None else dict(manifest.recipe),
        "created": manifest.created,
        "text": _text(manifest),
        "dataset": trained_on(manifest) or None,
        "frozen": _frozen(manifest),
        "source": manifest.provenance.get("source"),
        "locator": manifest.provenance.get("locator", "").partition("@")[0] or None,
        "note": manifest.provenance.get("note"),
        "stated": [*manifest.stated_metrics] or None,
    }


def _text(manifest: Manifest) -> str:
    backbone = manifest.backbone
    return join(
        [
            f"{backbone.plugin}/{backbone.architecture}",
            manifest.head.kind,
            manifest.license,
            trained_on(manifest) or None,
            manifest.provenance.get("author"),
            manifest.provenance.get("note"),
            *(parent.ref for parent in manifest.parents),
        ]
    )


def _frozen(manifest: Manifest) -> float | None:
    """The share of units that training left alone."""
    plan = manifest.freeze or {}
    frozen, trained = plan.get("frozen_units"), plan.get("trainable_units")
    if not isinstance(frozen, int) or not isinstance(trained, int) or frozen + trained <= 0:
        return None
    return frozen / (frozen + trained)


def _facts(
    digest: str, manifest: Manifest, published: Mapping[str, float]
) -> list[tuple[Table, list[Columns]]]:
    of = {"manifest": digest}
    parents = [
        {**of, "parent": str(parent.manifest), "relation": parent.relation, "ref": parent.ref}
        for parent in manifest.parents
    ]
    metrics = [
        {**of, "name": name, "value": float(value)}
        for name, value in {**published, **manifest.metrics}.items()
        if isinstance(value, int | float) and math.isfinite(value)
    ]
    classes = [
        {**of, "position": position, "name": fold(name)}
        for position, name in enumerate(manifest.classes[:INDEXED_CLASSES])
    ]
    return [(schema.parent, parents), (schema.metric, metrics), (schema.class_name, classes)]


def _count_params(manifest: Manifest, hierarchy: Hierarchy | None) -> int:
    parts: list[Unit | HeadPart] = [*hierarchy.units, hierarchy.head] if hierarchy else []
    buffers = {name for part in parts for name in part.buffers}
    parameters = {name for part in parts for name in part.parameters}
    # By name: a tensor that several files hold is one tensor of the network.
    tensors = {tensor.name: tensor for tensor in manifest.tensors}
    return sum(
        math.prod(tensor.shape)
        for name, tensor in tensors.items()
        if name in parameters or (name not in buffers and _looks_trainable(tensor))
    )


def _looks_trainable(tensor: Tensor) -> bool:
    last = tensor.name.rpartition(".")[2]
    return tensor.dtype.startswith(("F", "BF")) and last not in NORM_STATISTICS
