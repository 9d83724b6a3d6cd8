"""Searches of a made-up catalog, each against a look at every entry."""

from __future__ import annotations

import operator
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zoo.domain.catalog import CatalogEntry
from zoo.domain.query import Filter, Query, Sort
from zoo.registry import Registry, page

FAMILIES = ("resnet", "convnext", "vit", "regnet", "swin")
PROSE = ("tiny", "robust", "straße", "satellite", "flowers", "k-means", "lite", "vit_tiny")
DATES = ("2019-05-05", "2026-01-01T09:00:00Z", "2026-06-30", "2026-07-01", "2030-12-31", None)
PARAMS = (999_999, 1_000_000, 4_999_999, 5_000_000, 29_000_000, 30_000_001, 2 * 10**9, None)
COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
}
SORTS = (None, "params", "-params", "-updated", "name", "input", "-metric.top1", "metric.top1")
PUBLISHED = Sort.parse("-metric.top1")
"""Where nothing is asked, the best come first."""
HEIGHTS = (224, 255, 256, 320, 512, None)


def entries() -> Iterator[CatalogEntry]:
    draw = random.Random(0)
    for number in range(400):
        family, size = draw.choice(FAMILIES), draw.choice(("tiny", "base", "b0"))
        height = draw.choice(HEIGHTS)
        yield CatalogEntry(
            name=f"hub/{family}_{size}.n{number}",
            backbone="timm",
            architecture=f"{family}_{size}",
            tag=f"n{number}",
            license=draw.choice(("MIT", "apache-2.0", None)),
            input_size=(3, height, height) if height else None,
            params=draw.choice(PARAMS),
            datasets=(draw.choice(("flowers", "imagenet-1k")),),
            card=" ".join(draw.sample(PROSE, 2)) + ".",
            updated=draw.choice(DATES),
            metrics=draw.choice(({}, {"top1": draw.random()})),
        )


def queries(count: int) -> Iterator[Query]:
    draw = random.Random(1)
    filters = [
        *(f"params{sign}{count}" for sign in ("<", "<=", ">=") for count in ("1M", "5M", "31M")),
        *(f"updated{sign}2026-0{month}" for sign in ("<", ">=", ">", "=") for month in (1, 7)),
        *(f"input{sign}256" for sign in ("<", ">", ">=", "=")),
        "source:hub", "metric.top1>=0.5", "arch:*_tiny", "license:mit", "dataset:flowers",
        "arch:vit*", "owner:hub", "tag:n7",
    ]  # fmt: skip
    words = (*FAMILIES, *PROSE, "STRASSE", "next_t", "n1", "b0", "means", "nothing",
             "next_tiny.n2", "SWIN_base", "resnet_b0")  # fmt: skip
    yield from (Query.parse(f"VIT_tiny {more}") for more in ("", "flowers", "params<5M"))
    for _ in range(count):
        asked = draw.sample(words, draw.randint(0, 2)) + draw.sample(filters, draw.randint(0, 2))
        sort = draw.choice(SORTS)
        yield Query.parse(" ".join(asked), sort=sort, limit=draw.choice((1, 3, 20, 500)))


def fits(entry: CatalogEntry, query: Query) -> bool:
    text = " ".join((entry.name, "timm", *(entry.datasets or ()), entry.license or "")).casefold()
    card = (entry.card or "").casefold()
    prose = {token.strip(".") for token in card.split()} | set(re.split(r"[\W_]+", card))
    words = (word.casefold() for word in query.words)
    found = all((len(word) > 2 and word in text) or word in prose | set(re.split(r"[\W_]+", text))
                for word in words)  # fmt: skip
    return found and all(holds(entry, each) for each in query.filters)


def holds(entry: CatalogEntry, each: Filter) -> bool:
    known = {
        "params": entry.params,
        "input": entry.input_size and entry.input_size[1],
        "updated": entry.updated and entry.updated[: len(str(each.value))],
        "arch": entry.architecture,
        "license": entry.license,
        "dataset": (entry.datasets or ("",))[0],
        "owner": "hub",
        "source": "hub",
        "top1": (entry.metrics or {}).get("top1"),
        "tag": entry.tag,
    }[each.metric or each.field]
    if known is None:
        return False
    if each.operator == ":":
        pattern = str(each.value).replace("*", ".*")
        return re.fullmatch(pattern, str(known), re.IGNORECASE) is not None
    return bool(COMPARE[each.operator](known, each.value))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def full(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    where: Path | str = tmp_path_factory.mktemp("all") / "registry.db"
    if request.param == "postgresql":
        where = str(request.getfixturevalue("postgres_server").database("searched"))
    with Registry.open(where) as registry:
        registry.replace_entries("hub", "1", entries(), "now")
        yield registry


def key(query: Query) -> Callable[[CatalogEntry], tuple[bool, object]]:
    sort = query.sort or PUBLISHED
    field = sort.field

    def value(entry: CatalogEntry) -> object:
        if sort.metric:
            return (entry.metrics or {}).get(sort.metric)
        height = entry.input_size and entry.input_size[1]
        return height if field == "input" else getattr(entry, field)

    return lambda entry: (value(entry) is None, value(entry))


@pytest.fixture(params=["as few", pytest.param("as among millions", marks=pytest.mark.long)])
def _size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ways that searches take among millions, which these entries are too few for."""
    if request.param == "as among millions":
        monkeypatch.setattr(page, "isqrt", lambda _: 1)
        monkeypatch.setattr(page, "FURTHER", 3)


@pytest.mark.usefixtures("_size")
@pytest.mark.parametrize("count", [40, pytest.param(240, marks=pytest.mark.long)])
def test_every_search_finds_what_a_look_at_all_finds(full: Registry, count: int) -> None:
    everything = {entry.name: entry for entry in entries()}
    for query in queries(count):
        expected = {entry.name for entry in everything.values() if fits(entry, query)}
        found = [each.name for each in full.search(query)]
        assert len(found) == min(query.limit, len(expected)), str(query)
        assert set(found) <= expected, str(query)
        assert full.count(query) == len(expected), str(query)
        sort = query.sort
        if not (sort or query.words or query.filters):
            sort = PUBLISHED
        if sort is None:  # an architecture that a word names comes first
            named = {word.casefold() for word in query.words}
            listed = sorted(expected, key=lambda x: (everything[x].architecture not in named, x))
            assert found == listed[: query.limit], str(query)
        elif sort.field == "name":
            assert found == sorted(expected)[: query.limit], str(query)
        else:
            order = key(query)
            known = sorted(
                (order(everything[name]) for name in expected if not order(everything[name])[0]),
                reverse=sort.descending,
            )
            shown = [order(everything[name]) for name in found]
            assert [each for each in shown if not each[0]] == known[: query.limit], str(query)
