"""Search: checkpoints that are here and catalog entries, as one list."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    Subquery,
    Table,
    case,
    func,
    literal,
    null,
    or_,
    select,
)

from zoo.domain.digest import Digest
from zoo.domain.reference import DEFAULT_TAG
from zoo.registry import schema
from zoo.registry.catalog import input_size, vector
from zoo.registry.hierarchies import known_params

__all__ = ["Found", "Query", "count", "search"]

PREPROCESSING = (
    "channels",
    "height",
    "width",
    "mean",
    "std",
    "interpolation",
    "crop_pct",
    "crop_mode",
)
LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    r"""What to look for; None asks nothing.

    Attributes:
        words: Each must occur in name, architecture, licence or hub id, or be a class name.
        architecture: Architecture; ``*`` stands for any characters.
        license: Licence id; upper and lower case are the same.
        max_params: Most parameter elements; what has an unknown number does not match.
        num_classes: Outputs of the classifier.
        source: A source that lists it.
        pulled: Whether it is here.
        limit: Most results.
    """

    words: tuple[str, ...] = ()
    architecture: str | None = None
    license: str | None = None
    max_params: int | None = None
    num_classes: int | None = None
    source: str | None = None
    pulled: bool | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One result. What is unknown, or does not apply to its kind, is None.

    Attributes:
        name: What a user types: a ref, or the name of a catalog entry.
        kind: ``checkpoint`` if it is here, ``remote`` if a remote has it, else ``catalog``.
        backbone: Backbone plugin.
        architecture: Architecture.
        tag: Pretrained tag.
        license: Licence id.
        input_size: Channels, height, width.
        num_classes: Outputs of the classifier.
        params: Number of parameter elements.
        sources: The sources that list an entry of this name, sorted.
        remotes: The remotes that have it under this name, sorted, if it is not here.
        pulled: Whether it is here.
        metrics: Results on the held-out split.
        created: When the checkpoint was made, UTC, ISO 8601.
        manifest: The checkpoint's identity.
        hub_id: Repository on the HF Hub.
        mean: Per-channel mean.
        std: Per-channel standard deviation.
        interpolation: Resize filter.
        crop_pct: Share of the resized image that the crop keeps.
        crop_mode: ``center``, ``squash`` or ``border``.
    """

    name: str
    kind: Literal["catalog", "checkpoint", "remote"]
    backbone: str
    architecture: str
    tag: str | None
    license: str | None
    input_size: tuple[int, int, int] | None
    num_classes: int | None
    params: int | None
    sources: tuple[str, ...]
    remotes: tuple[str, ...]
    pulled: bool
    metrics: dict[str, float]
    created: str | None
    manifest: Digest | None
    hub_id: str | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    interpolation: str | None
    crop_pct: float | None
    crop_mode: str | None


def search(connection: Connection, query: Query) -> list[Found]:
    """What matches: checkpoints by name, newest first, be they here or at a remote; then entries
    that are not here, by name.
    """
    found: list[Row[Any]] = []
    for kinds in _kinds(query):
        if len(found) < query.limit:
            found += _newest(connection, query, kinds, min(query.limit, LARGEST) - len(found))
    sources = _sources(connection, found)
    metrics = _metrics(connection, found)
    remotes = _remotes(connection, found)
    return [
        _found(
            row,
            tuple(sources[row.entry_id]),
            () if row.here else tuple(remotes[row.name, row.manifest]),
            metrics[row.manifest],
        )
        for row in found
    ]


def count(connection: Connection, query: Query) -> int:
    """How many match, whatever the limit."""
    return sum(
        connection.scalar(select(func.count()).select_from(rows).where(*_conditions(query, rows)))
        or 0
        for kinds in _kinds(query)
        for rows in kinds
    )


def _kinds(query: Query) -> tuple[list[Subquery], list[Subquery]]:
    """What is shown first, and what after that. Asked one by one, so that SQLite can read each in
    the order of an index and stop at the limit.
    """
    here = [] if query.pulled is False else [_checkpoints(schema.ref)]
    there = [] if query.pulled else [_checkpoints(schema.remote_ref)]
    entries = [] if query.pulled else [_entries()]
    return [kind.subquery() for kind in here + there], [kind.subquery() for kind in entries]


def _newest(
    connection: Connection, query: Query, kinds: list[Subquery], limit: int
) -> list[Row[Any]]:
    found: list[Row[Any]] = []
    for rows in kinds:
        page = select(rows).where(*_conditions(query, rows))
        page = page.order_by(rows.c.created.desc(), rows.c.name).limit(limit)
        found += connection.execute(page)
    found.sort(key=lambda row: str(row.name))
    found.sort(key=lambda row: row.created or "", reverse=True)
    return found[:limit]


def _path(ref: Table) -> ColumnElement[str]:
    return ref.c.namespace + "/" + ref.c.name


def _name(ref: Table) -> ColumnElement[str]:
    return case((ref.c.tag == DEFAULT_TAG, _path(ref)), else_=_path(ref) + ":" + ref.c.tag)


def _checkpoints(ref: Table) -> Select[Any]:
    """One row for each name and what it points at: of this zoo, or of all remotes together."""
    here = ref is schema.ref
    checkpoint, entry = schema.checkpoint, schema.entry
    path, name = _path(ref), _name(ref)
    # No column but an expression, which has no index: so SQLite begins with the checkpoints, newest
    # first, and stops at the limit, rather than sort all that match.
    manifest = checkpoint.c.manifest + "" if here else checkpoint.c.manifest
    # A reference is ASCII, which SQLite's lower() covers.
    text = func.lower(name) + " " + checkpoint.c.text + " " + func.coalesce(entry.c.text, "")
    statement = select(
        entry.c.id.label("entry_id"),
        name.label("name"),
        literal(here).label("here"),
        checkpoint.c.backbone,
        checkpoint.c.architecture,
        entry.c.tag,
        func.coalesce(checkpoint.c.license, entry.c.license).label("license"),
        entry.c.hub_id,
        checkpoint.c.num_classes,
        checkpoint.c.params,
        checkpoint.c.created,
        checkpoint.c.manifest,
        text.label("text"),
        *(checkpoint.c[column] for column in PREPROCESSING),
    ).select_from(
        ref.join(checkpoint, manifest == ref.c.manifest).outerjoin(entry, entry.c.name == path)
    )
    if here:
        return statement
    # What a source publishes under this name, or this zoo has, is shown once.
    own = schema.ref
    ours = select(own.c.name).where(
        own.c.namespace == ref.c.namespace,
        own.c.name == ref.c.name,
        own.c.tag == ref.c.tag,
        own.c.manifest == ref.c.manifest,
    )
    names = (ref.c.namespace, ref.c.name, ref.c.tag, ref.c.manifest)
    return statement.where(entry.c.id.is_(None), ~ours.exists()).group_by(*names)


def _entries() -> Select[Any]:
    ref, checkpoint, entry = schema.ref, schema.checkpoint, schema.entry
    # By the parts of its name, as refs are keyed: a list of all refs would be made for each search.
    slash = func.instr(entry.c.name, "/")
    pulled = (
        select(ref.c.name)
        .join(checkpoint, checkpoint.c.manifest == ref.c.manifest)
        .where(
            ref.c.namespace == func.substr(entry.c.name, 1, slash - 1),
            ref.c.name == func.substr(entry.c.name, slash + 1),
        )
    )
    return select(
        entry.c.id.label("entry_id"),
        entry.c.name,
        literal(value=False).label("here"),
        entry.c.backbone,
        entry.c.architecture,
        entry.c.tag,
        entry.c.license,
        entry.c.hub_id,
        entry.c.num_classes,
        known_params(entry.c.backbone, entry.c.architecture).label("params"),
        null().label("created"),
        null().label("manifest"),
        entry.c.text,
        *(entry.c[column] for column in PREPROCESSING),
    ).where(~pulled.exists())


def _conditions(query: Query, rows: Subquery) -> list[ColumnElement[bool]]:
    listing = schema.listing
    conditions = [_has_word(rows, word.lower()) for word in query.words]
    if query.architecture is not None:
        conditions.append(rows.c.architecture.like(_pattern(query.architecture), escape="\\"))
    if query.license is not None:
        conditions.append(func.lower(rows.c.license) == query.license.lower())
    if query.max_params is not None:
        conditions.append(rows.c.params <= min(query.max_params, LARGEST))
    if query.num_classes is not None:
        conditions.append(rows.c.num_classes == query.num_classes)
    if query.source is not None:
        listed = select(listing.c.entry_id).where(listing.c.source == query.source)
        conditions.append(rows.c.entry_id.in_(listed))
    return conditions


def _has_word(rows: Subquery, word: str) -> ColumnElement[bool]:
    # A class name must be met whole: among a thousand of them a part of a word always occurs.
    # instr() has no wildcards that would need escaping.
    table = schema.class_name
    of_class = select(table.c.manifest).where(table.c.name == word)
    return or_(func.instr(rows.c.text, word) > 0, rows.c.manifest.in_(of_class))


def _pattern(glob: str) -> str:
    for special in ("\\", "%", "_"):
        glob = glob.replace(special, "\\" + special)
    return glob.replace("*", "%")


def _sources(connection: Connection, rows: list[Row[Any]]) -> dict[int | None, list[str]]:
    listing = schema.listing
    shown = _among(listing.c.entry_id, [row.entry_id for row in rows])
    found: defaultdict[int | None, list[str]] = defaultdict(list)
    for row in connection.execute(select(listing).where(shown).order_by(listing.c.source)):
        found[row.entry_id].append(row.source)
    return found


def _metrics(connection: Connection, rows: list[Row[Any]]) -> dict[str | None, dict[str, float]]:
    metric = schema.metric
    shown = _among(metric.c.manifest, [row.manifest for row in rows])
    found: defaultdict[str | None, dict[str, float]] = defaultdict(dict)
    for row in connection.execute(select(metric).where(shown).order_by(metric.c.name)):
        found[row.manifest][row.name] = row.value
    return found


def _remotes(
    connection: Connection, rows: list[Row[Any]]
) -> dict[tuple[str, str | None], list[str]]:
    table = schema.remote_ref
    shown = _among(table.c.manifest, [row.manifest for row in rows])
    statement = select(_name(table).label("name"), table.c.manifest, table.c.remote)
    found: defaultdict[tuple[str, str | None], list[str]] = defaultdict(list)
    for row in connection.execute(statement.where(shown).order_by(table.c.remote)):
        found[row.name, row.manifest].append(row.remote)
    return found


def _among(column: Column[Any], values: list[Any]) -> ColumnElement[bool]:
    # As one parameter: SQLite takes only so many, and a search may have any limit.
    listed = func.json_each(json.dumps(values)).table_valued("value")
    return column.in_(select(listed.c.value))


def _found(
    row: Row[Any], sources: tuple[str, ...], remotes: tuple[str, ...], metrics: dict[str, float]
) -> Found:
    return Found(
        name=row.name,
        kind="checkpoint" if row.here else "remote" if row.manifest else "catalog",
        backbone=row.backbone,
        architecture=row.architecture,
        tag=row.tag,
        license=row.license,
        input_size=input_size(row),
        num_classes=row.num_classes,
        params=row.params,
        sources=sources,
        remotes=remotes,
        pulled=bool(row.here),
        metrics=dict(metrics),
        created=row.created,
        manifest=Digest.parse(row.manifest) if row.manifest else None,
        hub_id=row.hub_id,
        mean=vector(row.mean),
        std=vector(row.std),
        interpolation=row.interpolation,
        crop_pct=row.crop_pct,
        crop_mode=row.crop_mode,
    )
