"""Search: checkpoints that are here or at a remote, and catalog entries, as one list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, Literal

from sqlalchemy import (
    Connection,
    Row,
    Select,
    and_,
    case,
    func,
    literal_column,
    select,
    true,
    union,
)

from zoo.domain.digest import Digest
from zoo.domain.query import Filter, Query, Sort
from zoo.domain.reference import DEFAULT_TAG
from zoo.domain.result import AtRemote, Result
from zoo.registry import schema, terms
from zoo.registry.catalog import input_size, vector
from zoo.registry.conditions import NUMBERS, OF_METRIC, metric_of, visible
from zoo.registry.items import (
    CATALOG,
    CHECKPOINT,
    IS_NAMED,
    ITEM,
    OTHER,
    REMOTE,
    lists,
    path_of,
    shown_name,
)
from zoo.registry.page import SIZES, Page, count, count_checkpoints, read
from zoo.registry.seen import VisibilityFilter
from zoo.registry.sql import Columns, Expression, among, among_given, each_of, like

__all__ = [
    "SearchResult",
    "KnownArchitecture",
    "count",
    "count_checkpoints",
    "known_architectures",
    "known_data",
    "search",
]

SORTED = {"name": ITEM.c.name, "updated": ITEM.c.updated, **NUMBERS}
CALLED = 1_000
"""So many names that a word is come first."""
MOST = 1_000_000
"""No limit is larger: a list is made in memory."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SearchResult(Result):
    """One result. What is unknown, or does not apply to its kind, is None.

    Attributes:
        name: What a user types: a ref, or the name of a catalog entry.
        kind: ``checkpoint`` if it is here, ``remote`` if a remote has it, else ``catalog``.
        backbone: Backbone plugin.
        architecture: Architecture.
        tag: Pretrained tag.
        license: License id.
        input_size: Channels, height, width.
        num_classes: Outputs of the classifier.
        params: Number of parameter elements.
        sources: The sources that list an entry of this name, sorted.
        remotes: The remotes that have it under this name, sorted, if it is not here.
        pulled: Whether it is here.
        metrics: Results on the held-out split, and numbers that sources publish.
        created: When the checkpoint was made, UTC, ISO 8601.
        manifest: The checkpoint's identity.
        head: Kind of head.
        frozen: Share of the units that training left alone.
        datasets: What it was trained on.
        updated: When its name moved last, or when it changed last at its source, ISO 8601.
        hub_id: Repository on the HF Hub.
        mean: Per-channel mean.
        std: Per-channel standard deviation.
        interpolation: Resize filter.
        crop_pct: Share of the resized image that the crop keeps.
        crop_mode: ``center``, ``squash`` or ``border``.
        note: What was said of the checkpoint (``--note``).
        stated: The metrics that nobody measured: people stated them.
        at_remotes: What remotes have under this name (`zoo.lookup.ref_status`).
        other_images: Whether its accuracy is of other images than that of most in a list of one
            data set (`zoo.lookup.measured`), so that the numbers do not compare.
        deprecated: Why the name here is to be used no more (`zoo.lookup.ref_status`); else empty.
    """

    _COLUMNS: ClassVar = (
        "name",
        "params",
        "input_size",
        "num_classes",
        "license",
        "here",
        "metrics",
    )

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
    head: str | None
    frozen: float | None
    datasets: tuple[str, ...]
    updated: str | None
    hub_id: str | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    interpolation: str | None
    crop_pct: float | None
    crop_mode: str | None
    note: str | None
    stated: tuple[str, ...] = ()
    at_remotes: tuple[AtRemote, ...] = ()
    other_images: bool = False
    deprecated: str = ""

    @property
    def here(self) -> str:
        """``yes``, or the remotes that have it."""
        return "yes" if self.pulled else ", ".join(self.remotes)


def _called_as(kind: str, called: Expression, word: Expression) -> Select[Any]:
    label: Expression = literal_column(f"'{kind}'").label("kind")
    return select(called.label("called"), label).where(among_given(word, "said"))


NEWEST = (ITEM.c.created.desc().nulls_last(), ITEM.c.name, ITEM.c.ref_tag)
NAMED = Page(NEWEST, IS_NAMED, [[[terms.NAMED]]])
LISTED = Page((ITEM.c.name,), ITEM.c.kind == CATALOG)
PUBLISHED = Sort.parse("-top1")
SAME = [each.name for each in fields(SearchResult) if each.name in {*ITEM.c.keys()} - {"metrics"}]
"""Columns of an item that a result has, too."""
# Made once: that takes longer than to read the rows.
NAMES = (
    union(
        _called_as("architecture", ITEM.c.architecture, ITEM.c.architecture),
        _called_as("name", ITEM.c.name, ITEM.c.name),
        *(_called_as("name", path_of(ref), ref.c.name) for ref in (schema.ref, schema.remote_ref)),
    )
    .order_by("kind")
    .limit(CALLED)
)
COLUMNS = ("id", "ref_tag", "channels", "height", "width", *SAME)
SHOWN = select(*(ITEM.c[name] for name in COLUMNS)).where(among_given(ITEM.c.id, "shown"))


def search(
    connection: Connection, query: Query, *, skip: int = 0, seen: VisibilityFilter | None = None
) -> list[SearchResult]:
    """What matches, sorted as asked; else checkpoints by name, newest first, be they here or at a
    remote, then entries that are not here, by name. Before all others comes what is a word of the
    query: a name, or the last part of it, then the architecture. Where nothing at all is asked,
    entries with the highest published accuracy come before those without one. The first ``skip``
    are left out, and what may not be ``seen``.
    """
    ids: list[int] = []
    limit, sizes = min(skip + query.limit, MOST), connection.execute(SIZES).one()
    for part, page in _parts(connection, query):
        size = sizes.named if page.wanted else sizes.last
        if size and len(ids) < limit:
            ids += read(connection, part, page, size, limit - len(ids), seen)
    return _results(connection, ids[skip:])


def _parts(connection: Connection, query: Query) -> Iterator[tuple[Query, Page]]:
    """Parts of the list, and what is asked of each: what is called as a word of the query, and
    networks of an architecture that is one, come before what only has that word.
    """
    pages = _pages(query)
    exact, named = ([], []) if query.sort else _called(connection, query.words)
    if exact:
        called = among(ITEM.c.name, exact)
        yield from ((query, page.only(called)) for page in pages)
        pages = [page.only(~called) for page in pages]
    for name in named:
        others = tuple(word for word in query.words if terms.fold(word) != terms.fold(name))
        same = Query(others, (*query.filters, Filter("arch", ":", name)))
        yield from ((same, page) for page in pages)
    rest = ITEM.c.architecture.not_in(named)
    yield from ((query, page.only(rest) if named else page) for page in pages)


def _called(connection: Connection, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names, without their tags, that are a word or whose last part is one; and the
    architectures that are.
    """
    folded = {*words, *map(terms.fold, words)} - {""}
    rows = connection.execute(NAMES, {"said": [*folded]}).all() if folded else []
    names, architectures = (
        sorted(row.called for row in rows if row.kind == kind) for kind in ("name", "architecture")
    )
    return names, architectures


def _pages(query: Query) -> list[Page]:
    """Parts of the list, in order. What lacks the value that is sorted by comes last, as usual."""
    if query.sort:
        return _sorted(query.sort)
    if query.words or query.filters:
        return [NAMED, LISTED]
    best, _, listed = _sorted(PUBLISHED)
    return [NAMED, best.only(ITEM.c.kind == CATALOG), listed]


def _sorted(sort: Sort) -> list[Page]:

    def order(value: Expression) -> tuple[Expression, ...]:
        return (value.desc(), ITEM.c.id.desc()) if sort.descending else (value, ITEM.c.id)

    if sort.metric is None:
        value: Expression = SORTED[sort.field]
        first = Page(order(value), value.is_not(None))
    else:
        measure, value = schema.measure, metric_of(sort.metric)
        rows = measure.join(ITEM, and_(OF_METRIC, measure.c.name == sort.metric))
        measured = order(measure.c.value)
        first = Page(order(value), value.is_not(None), rows=rows, order_of_rows=measured)
    return [first, *(page.only(value.is_(None)) for page in (NAMED, LISTED))]


def _results(connection: Connection, ids: list[int]) -> list[SearchResult]:
    given = {"shown": ids}
    rows = {row.id: row for row in connection.execute(SHOWN, given)}
    shown = [rows[each] for each in ids]
    if not all(isinstance(row.name, str) for row in shown):
        raise TypeError("the name of an item is not text")  # damage, which is then looked for
    any_named = any(row.kind != CATALOG for row in shown)
    listings = (LISTINGS, _listings_of_names()) if any_named else (LISTINGS,)
    sources = _by_key(row for each in listings for row in connection.execute(each, given))
    manifests = {"there": [row.manifest for row in shown if row.kind == REMOTE]}
    remotes = _by_key(connection.execute(AT_REMOTES, manifests) if manifests["there"] else ())
    metrics: defaultdict[int, dict[str, float]] = defaultdict(dict)
    for item, name, value in connection.execute(METRICS, given):
        metrics[item][name] = value
    return [
        _to_found(
            row,
            tuple(sources[row.id,]),
            tuple(remotes[row.name, row.ref_tag, row.manifest]),
            metrics[row.id],
        )
        for row in shown
    ]


def _by_key(rows: Iterable[Row[*tuple[Any, ...]]]) -> dict[tuple[object, ...], list[str]]:
    """The last column of rows, by the columns before it."""
    values: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
    for *key, value in rows:
        values[tuple(key)].append(value)
    return values


MEASURE, LISTING, THERE = schema.measure.c, schema.listing, schema.remote_ref.c
METRICS = (
    select(MEASURE.item_id, MEASURE.name, MEASURE.value)
    .where(among_given(MEASURE.item_id, "shown"))
    .order_by(MEASURE.name)
)
LISTINGS = (
    select(LISTING.c.item_id, LISTING.c.source)
    .where(among_given(LISTING.c.item_id, "shown"))
    .order_by(LISTING.c.source)
)
TAG = case((THERE.tag == DEFAULT_TAG, ""), else_=THERE.tag)
AT_REMOTES = (
    select(path_of(schema.remote_ref), TAG, THERE.manifest, THERE.remote)
    .where(among_given(THERE.manifest, "there"))
    .order_by(THERE.remote)
)


@cache
def _listings_of_names() -> Select[tuple[int, str]]:
    """Who lists what a name points at."""
    checkpoint = schema.checkpoint
    return (
        select(ITEM.c.id, LISTING.c.source)
        .join(OTHER, and_(OTHER.c.name == ITEM.c.name, OTHER.c.kind == CATALOG))
        .join(LISTING, LISTING.c.item_id == OTHER.c.id)
        .join(checkpoint, checkpoint.c.manifest == ITEM.c.manifest)
        .where(lists(OTHER, checkpoint), among_given(ITEM.c.id, "shown"))
        .order_by(LISTING.c.source)
    )


def _to_found(
    row: Row[object], sources: tuple[str, ...], remotes: tuple[str, ...], metrics: dict[str, float]
) -> SearchResult:
    columns = dict(zip(COLUMNS, row, strict=True))
    known: Columns = {name: columns[name] for name in SAME} | {
        "name": shown_name(row.name, row.ref_tag),
        "manifest": Digest.parse(row.manifest) if row.manifest else None,
        "datasets": tuple(row.datasets or ()),
        "mean": vector(row.mean),
        "std": vector(row.std),
        "stated": _only_stated(row.stated, metrics),
    }
    return SearchResult(
        **known,
        input_size=input_size(columns),
        sources=sources,
        remotes=remotes,
        pulled=row.kind == CHECKPOINT,
        metrics=metrics,
    )


def _only_stated(stated: list[str] | None, metrics: Iterable[str]) -> tuple[str, ...]:
    """Those that no evaluation has measured, which would be what is found."""
    measured = {name.partition("@")[0] for name in metrics if "@" in name}
    return tuple(name for name in stated or () if name not in measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownArchitecture:
    """An architecture that there are weights of.

    Attributes:
        backbone: Backbone plugin.
        architecture: Its name.
        params: Parameters of its largest checkpoint; None where unknown.
        checkpoint: How many names of checkpoints are here.
        remote: How many only remotes have.
        catalog: How many published ones are not here.
    """

    backbone: str
    architecture: str
    params: int | None
    checkpoint: int
    remote: int
    catalog: int


def known_architectures(connection: Connection, pattern: str = "*") -> list[KnownArchitecture]:
    """All whose name fits ``pattern`` (``*`` stands for any characters), by name."""
    kinds = (
        func.count().filter(ITEM.c.kind == each).label(each)
        for each in (CHECKPOINT, REMOTE, CATALOG)
    )
    key = (ITEM.c.architecture, ITEM.c.backbone)
    statement = (
        select(*key, func.max(ITEM.c.params).label("params"), *kinds)
        .where(visible(), like(ITEM.c.architecture, pattern))
        .group_by(*key)
        .order_by(*key)
    )
    return [KnownArchitecture(**row._mapping) for row in connection.execute(statement)]


def known_data(connection: Connection, pattern: str = "*") -> set[str]:
    """Names of data that something was trained or evaluated on, and that fit ``pattern``."""
    trained, measure = each_of(ITEM.c.datasets), schema.measure.c.name
    listed = select(trained.c.value).distinct().select_from(ITEM.join(trained, true()))
    on = connection.scalars(listed.where(like(trained.c.value, pattern)))
    measured = select(measure).distinct().where(like(measure, f"*@{pattern}"))
    return {*on, *(name.partition("@")[2] for name in connection.scalars(measured))}
