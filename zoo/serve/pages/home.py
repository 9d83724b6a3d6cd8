"""Home: what there is for who asks, and what of it they look for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from zoo.domain.query import FIELDS, Field, Query
from zoo.errors import Invalid, UnknownName, ZooError
from zoo.lookup.hints import Hint, hints
from zoo.lookup.measured import with_images
from zoo.lookup.ref_status import with_deprecations
from zoo.registry import SearchResult
from zoo.serve.http.answer import Answer
from zoo.serve.hub.account import front
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.seen import seen_by
from zoo.serve.pages.number import number_in
from zoo.serve.pages.page import show, site_of, wants_page
from zoo.serve.pages.search import Facet, Part, facets_of, parts_of

__all__ = ["Home", "Row", "home", "look_home"]

ROWS = 50
"""Results on a page."""
PAGES = 20
"""So many can be turned: who looks further says more of what they look for."""
LETTERS = 1_000
"""Of a query, and of the order."""
COUNTED = 5_000
"""Results that are counted, and told apart, at most."""
WEEK = timedelta(days=7)
EXAMPLES = (
    "convnext params<30M",
    "license:apache-2.0 input>=288",
    "dataset:imagenet-1k top1>80",
    "pulled:yes accuracy>=0.97",
    "parent:timm/*",
)
"""How to search, shown."""


@dataclass(frozen=True, slots=True)
class Row:
    """A result.

    Attributes:
        name: A name with its tag, or what a source calls it.
        manifest: The checkpoint's identity; empty if it is not here.
        also: Further tags of the repository that have it.
        repo: The repository whose page tells more; empty if it is not here.
        tag: The tag there.
        listed: Whether it is not here, and a source lists it.
        architecture: Architecture.
        backbone: The library.
        params: Number of parameters.
        license: License id.
        accuracy: On the held-out split.
        low, high: Ends of its 95 % interval.
        images: So many it is of.
        data: What it was trained on, which that split is of.
        top1: Published accuracy on ImageNet-1k, percent.
        value: The metric that is sorted by, if it is another one.
        updated: When the name moved last, or when it changed last at its source.
        note: What was said of it.
        deprecated: Why it is to be used no more, and what instead; empty if it may be.
        other_images: Whether its accuracy is of other images than that of most of the list.
    """

    name: str
    repo: str
    tag: str
    manifest: str
    listed: bool
    architecture: str
    backbone: str
    params: int | None
    license: str | None
    accuracy: float | None
    low: float | None
    high: float | None
    images: float | None
    data: str
    top1: float | None
    value: float | None
    updated: str | None
    note: str | None
    deprecated: str
    other_images: bool
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Home:
    """What was found.

    Attributes:
        query: What was asked, as it was typed.
        sort: The order that was asked for; empty: the usual one.
        error: What is wrong with the query; empty: nothing.
        parts: The words and filters of the query.
        total: How many were found, `COUNTED` at most.
        more: Whether there are more than that.
        number: Of the page, from 1.
        beyond: The page that was asked for, where there is none; else 0.
        last: Whether nothing follows.
        metric: The metric that is sorted by, if it has no column of its own.
        rows: The results.
        facets: How they can be told apart.
        new: What to ask for what is here since last week.
        hints: Why nothing was found, and what else to ask.
    """

    query: str
    sort: str
    error: str = ""
    parts: tuple[Part, ...] = ()
    total: int = 0
    more: bool = False
    number: int = 1
    beyond: int = 0
    last: bool = True
    metric: str = ""
    rows: tuple[Row, ...] = ()
    facets: tuple[Facet, ...] = ()
    new: str = ""
    hints: tuple[Hint, ...] = ()

    @property
    def fields(self) -> tuple[Field, ...]:
        """All that can be asked for."""
        return tuple(FIELDS.values())

    @property
    def examples(self) -> tuple[str, ...]:
        """Some queries."""
        return EXAMPLES


def look_home(ask: Ask) -> Home:
    """What was looked for, among what may be read and, for who has an account, what is listed."""
    text, sort = (ask.call.query.get(name, "") for name in ("q", "sort"))
    page = number_in(ask.call, "page", least=1)
    if len(text + sort) > LETTERS:  # each link of the page repeats it
        return Home(text[:LETTERS], "", error=f"a query has at most {LETTERS:,} letters here")
    try:
        return _results_page(
            ask, text, Query.parse(text, sort=sort or None, limit=ROWS), sort, page
        )
    except (Invalid, UnknownName) as error:
        message = "\n".join(filter(None, (error.message, error.advice)))
        return Home(text, sort, error=message, hints=_instead(text, error))


def _instead(text: str, error: ZooError) -> tuple[Hint, ...]:
    """What a query with an unknown field may have meant."""
    if not isinstance(error, UnknownName) or error.kind != "field":
        return ()
    field = re.compile(rf"(?<!\S){re.escape(error.name)}(?=[<>=!:])")
    meant = tuple(field.sub(near, text) for near in error.near)
    return (Hint(error.message, meant),) if meant else ()


def _results_page(ask: Ask, text: str, query: Query, sort: str, asked: int) -> Home:
    registry, seen = ask.hub.workspace.registry, seen_by(ask)
    number = min(asked, PAGES)
    skip = (number - 1) * ROWS
    results = registry.search(query, skip=skip, seen=seen) if asked == number else []
    results = with_deprecations(ask.hub.workspace, with_images(ask.hub.workspace, query, results))
    facets = registry.facets(query, at_most=COUNTED, seen=seen)
    metric = query.sort.metric if query.sort else None
    metric = "" if metric in (None, "accuracy", "top1") else str(metric)
    return Home(
        query=text,
        sort=sort,
        parts=parts_of(query),
        total=facets.total,
        more=not facets.complete,
        number=number,
        beyond=0 if results or asked == 1 else asked,
        last=number == PAGES or (facets.complete and skip + len(results) >= facets.total),
        metric=metric,
        rows=tuple(_folded(_row(each, metric) for each in results)),
        facets=facets_of(query, facets),
        new=f"pulled:yes updated>={datetime.now(UTC) - WEEK:%Y-%m-%d}",
        hints=() if results or skip else tuple(hints(registry, query, seen)),
    )


def _row(result: SearchResult, metric: str) -> Row:
    path, _, tag = result.name.partition(":")
    return Row(
        name=result.name,
        repo=path if result.pulled else "",
        tag=tag,
        manifest=str(result.manifest or "") if result.pulled else "",
        listed=result.kind == "catalog",
        architecture=result.architecture,
        backbone=result.backbone,
        params=result.params,
        license=result.license,
        accuracy=result.metrics.get("accuracy"),
        low=result.metrics.get("accuracy_low"),
        high=result.metrics.get("accuracy_high"),
        images=result.metrics.get("test_images"),
        data=", ".join(result.datasets),
        top1=result.metrics.get("top1"),
        value=result.metrics.get(metric),
        updated=result.updated,
        note=result.note,
        deprecated=result.deprecated,
        other_images=result.other_images,
    )


def _folded(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows with the tags of one checkpoint together, where the first of them is; one that is to be
    used no more is a row of its own.
    """
    together: dict[object, list[Row]] = {}
    for number, row in enumerate(rows):
        key = (row.repo, row.manifest, row.deprecated) if row.repo else number
        together.setdefault(key, []).append(row)
    for first, *others in together.values():
        named = next((row for row in (first, *others) if not row.tag), first)
        tags = tuple(sorted({row.tag for row in (first, *others)} - {named.tag}))
        yield replace(first, name=named.name, tag=named.tag, also=tags)


def home(ask: Ask) -> Answer:
    """The page for browsers; for others, how to use this with programs."""
    if not wants_page(ask.call):
        return front(ask)
    return show(site_of(ask, "index.json"), "home.html", look_home(ask))
