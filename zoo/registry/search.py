"""Search: checkpoints that are here and catalog entries, as one list."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Subquery,
    case,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
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
        kind: ``checkpoint`` if it is here, else ``catalog``.
        backbone: Backbone plugin.
        architecture: Architecture.
        tag: Pretrained tag.
        license: Licence id.
        input_size: Channels, height, width.
        num_classes: Outputs of the classifier.
        params: Number of parameter elements.
        sources: The sources that list an entry of this name, sorted.
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
    kind: Literal["catalog", "checkpoint"]
    backbone: str
    architecture: str
    tag: str | None
    license: str | None
    input_size: tuple[int, int, int] | None
    num_classes: int | None
    params: int | None
    sources: tuple[str, ...]
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
    """What matches: checkpoints by ref, newest first, then entries that are not here, by name."""
    rows = _everything()
    order = (rows.c.manifest.is_(None), rows.c.created.desc(), rows.c.name)
    page = select(rows).where(*_conditions(query, rows)).order_by(*order)
    page = page.limit(min(query.limit, LARGEST))
    sources = _sources(connection, page)
    metrics = _metrics(connection, page)
    return [
        _found(row, tuple(sources[row.entry_id]), metrics[row.manifest])
        for row in connection.execute(page)
    ]


def count(connection: Connection, query: Query) -> int:
    """How many match, whatever the limit."""
    rows = _everything()
    statement = select(func.count()).select_from(rows).where(*_conditions(query, rows))
    return connection.scalar(statement) or 0


def _everything() -> Subquery:
    return union_all(_checkpoints(), _entries()).subquery("found")


def _path() -> ColumnElement[str]:
    return schema.ref.c.namespace + "/" + schema.ref.c.name


def _checkpoints() -> Select[Any]:
    ref, checkpoint, entry = schema.ref, schema.checkpoint, schema.entry
    path = _path()
    name = case((ref.c.tag == DEFAULT_TAG, path), else_=path + ":" + ref.c.tag)
    # A reference is ASCII, which SQLite's lower() covers.
    text = func.lower(name) + " " + checkpoint.c.text + " " + func.coalesce(entry.c.text, "")
    return select(
        entry.c.id.label("entry_id"),
        name.label("name"),
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
        ref.join(checkpoint, checkpoint.c.manifest == ref.c.manifest).outerjoin(
            entry, entry.c.name == path
        )
    )


def _entries() -> Select[Any]:
    ref, checkpoint, entry = schema.ref, schema.checkpoint, schema.entry
    pulled = select(_path()).join(checkpoint, checkpoint.c.manifest == ref.c.manifest)
    return select(
        entry.c.id.label("entry_id"),
        entry.c.name,
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
    ).where(entry.c.name.not_in(pulled))


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
    if query.pulled is not None:
        conditions.append(rows.c.manifest.is_not(None) == literal(query.pulled))
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


def _sources(connection: Connection, page: Select[Any]) -> defaultdict[int | None, list[str]]:
    listing = schema.listing
    shown = select(page.subquery().c.entry_id)
    found: defaultdict[int | None, list[str]] = defaultdict(list)
    for row in connection.execute(
        select(listing).where(listing.c.entry_id.in_(shown)).order_by(listing.c.source)
    ):
        found[row.entry_id].append(row.source)
    return found


def _metrics(
    connection: Connection, page: Select[Any]
) -> defaultdict[str | None, dict[str, float]]:
    metric = schema.metric
    shown = select(page.subquery().c.manifest)
    found: defaultdict[str | None, dict[str, float]] = defaultdict(dict)
    for row in connection.execute(
        select(metric).where(metric.c.manifest.in_(shown)).order_by(metric.c.name)
    ):
        found[row.manifest][row.name] = row.value
    return found


def _found(row: Row[Any], sources: tuple[str, ...], metrics: dict[str, float]) -> Found:
    here = row.manifest is not None
    return Found(
        name=row.name,
        kind="checkpoint" if here else "catalog",
        backbone=row.backbone,
        architecture=row.architecture,
        tag=row.tag,
        license=row.license,
        input_size=input_size(row),
        num_classes=row.num_classes,
        params=row.params,
        sources=sources,
        pulled=here,
        metrics=dict(metrics),
        created=row.created,
        manifest=Digest.parse(row.manifest) if here else None,
        hub_id=row.hub_id,
        mean=vector(row.mean),
        std=vector(row.std),
        interpolation=row.interpolation,
        crop_pct=row.crop_pct,
        crop_mode=row.crop_mode,
    )
