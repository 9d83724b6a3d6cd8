"""Search: a page of results, by what else they can be told apart, and how to change the query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from zoo.domain.query import Filter, Query
from zoo.domain.recipe import data_name
from zoo.errors import InvalidOption
from zoo.registry import Facets

__all__ = ["Choice", "Facet", "Part", "facets_of", "of_data", "parts_of"]

SHOWN = 8
"""Values of a facet that are offered, those that most have."""
LABELS: Mapping[str, str] = {
    "pulled": "Where",
    "backbone": "Library",
    "arch": "Architecture",
    "params": "Parameters",
    "license": "License",
    "dataset": "Trained on",
}
"""The facets, in order."""
PLACES = {"yes": "here", "no": "listed elsewhere"}
MILLION = 1_000_000
SIZES = (
    ("below 1M", "params<1M"),
    ("1M to 10M", "params>=1M params<10M"),
    ("10M to 30M", "params>=10M params<30M"),
    ("30M to 100M", "params>=30M params<100M"),
    ("100M and more", "params>=100M"),
)
"""Between the `zoo.registry.facets.BOUNDS`, in order: label, and filter."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A value of a facet.

    Attributes:
        label: It, for people.
        count: How many results have it.
        query: What to ask for those alone.
    """

    label: str
    count: int
    query: str


@dataclass(frozen=True, slots=True)
class Facet:
    """Something by which results can be told apart, and the values that most have."""

    label: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A word, a filter or a range of a query, and the query without it."""

    text: str
    without: str


def facets_of(query: Query, facets: Facets) -> tuple[Facet, ...]:
    """What to offer beside results. What is asked for already, and what all have, is left out."""
    asked = {each.field for each in query.filters}
    offered = (
        Facet(label, tuple(_choices(query, field, facets.counts[field])))
        for field, label in LABELS.items()
        if field not in asked
    )
    return tuple(
        facet
        for facet in offered
        if len(facet.choices) > 1 or any(each.count < facets.total for each in facet.choices)
    )


def parts_of(query: Query) -> tuple[Part, ...]:
    """The words and filters of a query, each of which can be taken out; the two ends of a range at
    once.
    """
    ranges = defaultdict[tuple[str, int], list[str]](list)
    for at, each in enumerate(query.filters):
        apart = 0 if each.operator[0] in "<>" else at + 1
        ranges[each.field, apart].append(_short(each))
    texts = [*(str(Query((word,))) for word in query.words), *map(" ".join, ranges.values())]
    return tuple(
        Part(text, " ".join(texts[:at] + texts[at + 1 :])) for at, text in enumerate(texts)
    )


def _short(part: Filter) -> str:
    """A filter as people write it: ``params<30M``."""
    if type(part.value) is int and part.value >= MILLION and part.value % MILLION == 0:
        return f"{part.field}{part.operator}{part.value // MILLION}M"
    return str(part)


def _choices(query: Query, field: str, counts: Mapping[str, int]) -> Iterator[Choice]:
    if field == "params":
        rows = ((label, text, counts.get(str(at), 0)) for at, (label, text) in enumerate(SIZES))
    else:
        most = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
        rows = ((PLACES.get(text, text), _filter(field, text), count) for text, count in most)
    before = [part.text for part in parts_of(query)]
    offered = ((label, text, count) for label, text, count in rows if text and count)
    for label, text, count in islice(offered, SHOWN):
        yield Choice(label, count, " ".join([*before, text]))


def of_data(name: str) -> str:
    """The query for what was trained on data of that name; empty if none can ask for it."""
    return _filter("dataset", data_name(name))


def _filter(field: str, value: str) -> str:
    """The filter for one value; empty if none can ask for it alone."""
    if "*" in value:
        return ""
    try:
        return str(Filter.parse(field, ":", value))
    except InvalidOption:
        return ""
