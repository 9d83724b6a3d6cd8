"""What may not be told is as if it were not there: in results, in numbers and in facets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zoo.registry import Query, Registry, VisibilityFilter

LITE, RESNET, VIT = "timm/lite0.in1k", "timm/resnet50.a1_in1k", "timm/vit_base.augreg"
ALL = VisibilityFilter(names=True, remotes=True)


@pytest.fixture(scope="module")
def filled(standing: Registry, fill: Callable[[Registry], Registry]) -> Registry:
    return fill(standing)


def told(registry: Registry, seen: VisibilityFilter | None, text: str = "") -> dict[str, bool]:
    found = registry.search(Query.parse(text), seen=seen)
    assert registry.count(Query.parse(text), seen=seen) == len(found)
    facets = registry.facets(Query.parse(text), at_most=99, seen=seen)
    assert (facets.total, facets.complete) == (len(found), True)
    assert sum(facets.counts["pulled"].values()) == len(found)
    return {each.name: each.pulled for each in found}


@pytest.mark.parametrize(
    ("seen", "names"),
    [
        (None, {LITE: True, "team/old": True, "team/new:v2": True, RESNET: False, VIT: False}),
        (ALL, {LITE: True, "team/old": True, "team/new:v2": True, RESNET: False, VIT: False}),
        (
            VisibilityFilter(names=True, hidden=frozenset({"team"}), catalog=False),
            {LITE: True},
        ),
        (
            VisibilityFilter(
                names=False, shown=frozenset({"team"}), hidden=frozenset({"team/old"})
            ),
            {"team/new:v2": True, LITE: False, RESNET: False, VIT: False},
        ),
        (
            VisibilityFilter(
                names=True, shown=frozenset({"team/old"}), hidden=frozenset({"team", "timm"})
            ),
            # What is listed under the name of something that may not be told of is listed still.
            {"team/old": True, LITE: False, RESNET: False, VIT: False},
        ),
        (VisibilityFilter(names=False, catalog=False), {}),
    ],
)
def test_only_what_may_be_told(
    filled: Registry, seen: VisibilityFilter | None, names: dict[str, bool]
) -> None:
    assert told(filled, seen) == names
    assert told(filled, seen, '"cat\'s ear"') == {
        k: v for k, v in names.items() if k == "team/new:v2"
    }
    assert told(filled, seen, "pulled:yes") == {k: v for k, v in names.items() if v}
    licensed = told(filled, seen, "license:mit")
    assert licensed == {k: v for k, v in names.items() if k in (LITE,)}


def test_results_are_turned_page_by_page(filled: Registry) -> None:
    every = [each.name for each in filled.search(Query())]
    pages = [filled.search(Query(limit=2), skip=skip) for skip in (0, 2, 4, 6)]
    assert [each.name for page in pages for each in page] == every
    assert [len(page) for page in pages] == [2, 2, 1, 0]


def test_facets_count_each_value(filled: Registry) -> None:
    facets = filled.facets(Query(), at_most=99)
    assert facets.counts["pulled"] == {"yes": 3, "no": 2}
    assert facets.counts["backbone"] == {"timm": 5}
    assert sum(facets.counts["arch"].values()) == 5
    few = filled.facets(Query(), at_most=2)
    assert (few.total, few.complete) == (2, False)
    assert filled.facets(Query.parse("nothinghasthis"), at_most=2).total == 0
