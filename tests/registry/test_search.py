from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import insert, select

from zoo.domain.catalog import CatalogEntry
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.errors import Invalid
from zoo.registry import Query, Registry, items, schema
from zoo.registry.engine import writing

only_sqlite = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)

Steps = Callable[[Registry, Callable[[], object]], int]
LITE, RESNET, VIT = "timm/lite0.in1k", "timm/resnet50.a1_in1k", "timm/vit_base.augreg"


@pytest.fixture(scope="module")
def filled(standing: Registry, fill: Callable[[Registry], Registry]) -> Registry:
    """Filled once; no test changes it."""
    return fill(standing)


@pytest.fixture
def own(registry: Registry, fill: Callable[[Registry], Registry]) -> Registry:
    """For the tests that add to it."""
    return fill(registry)


def names(registry: Registry, **query: Any) -> list[str]:
    found = [found.name for found in registry.search(Query(**query))]
    assert registry.count(Query(**query)) == len(found)
    return found


def test_checkpoints_newest_first_then_entries_by_name(filled: Registry) -> None:
    assert names(filled) == ["team/new:v2", LITE, "team/old", RESNET, VIT]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"words": ("RESNET50",)}, [RESNET]),
        ({"words": ("timm", "a1")}, [RESNET]),
        ({"words": ("resnet50", "augreg")}, []),
        ({"words": ("org/repo",)}, [RESNET]),
        ({"words": ("team/new:v2",)}, ["team/new:v2"]),
        ({"words": (LITE,)}, [LITE, "team/new:v2"]),  # the fine-tune names its parent
        ({"words": ("org/lite",)}, [LITE]),  # what the catalog knows of a pulled one
        ({"words": ("GÄNSEBLÜMCHEN",)}, ["team/new:v2"]),  # a class name
        ({"words": ("gänse",)}, []),  # no class name
        ({"architecture": "RESNET*"}, [RESNET]),
        ({"architecture": "*base"}, [VIT]),
        ({"architecture": "resnet"}, []),
        ({"license": "apache-2.0"}, [RESNET]),
        ({"license": "cc0-1.0"}, ["team/old"]),
        ({"license": "mit"}, [LITE]),  # the manifest does not say, the catalog does
        ({"max_params": 100}, ["team/new:v2", LITE, "team/old", RESNET]),
        ({"max_params": 99}, ["team/new:v2", LITE, "team/old"]),
        ({"max_params": 10**30, "pulled": False}, [RESNET]),
        ({"num_classes": 1000}, [LITE, RESNET]),
        ({"num_classes": 0}, [VIT]),
        ({"source": "hub"}, [VIT]),
        ({"source": "timm"}, [LITE, RESNET, VIT]),
        ({"pulled": True}, ["team/new:v2", LITE, "team/old"]),
        ({"pulled": False}, [RESNET, VIT]),
        ({"pulled": True, "words": ("timm/",), "num_classes": 5}, ["team/new:v2", "team/old"]),
    ],
)
def test_each_condition_narrows(filled: Registry, query: Any, expected: list[str]) -> None:
    assert names(filled, **query) == expected


def test_what_is_called_so_comes_first(filled: Registry) -> None:
    assert names(filled, words=("old",)) == ["team/old"]
    assert names(filled, words=(LITE,))[0] == LITE
    assert names(filled, words=("team", "OLD"))[0] == "team/old"
    assert names(filled, words=("team",)) == ["team/new:v2", "team/old"]


@pytest.mark.parametrize(
    "text", ["%", "s%50", "t_m", "\\", "a'x", "' OR 1=1 --", '"', "*", ":v2%", "?", "[r]esnet"]
)
def test_words_and_architectures_have_no_hidden_wildcards(filled: Registry, text: str) -> None:
    assert names(filled, words=(text,)) == []
    if text != "*":
        assert names(filled, architecture=text) == []


def test_special_characters_are_found_as_themselves(
    registry: Registry, make_entry: Callable[..., CatalogEntry]
) -> None:
    texts = ("100%", "a_b", "back\\slash", "o'clock", 'say "x"', "[a]", "plain", "aab", "1000")
    registry.replace_entries("hub", "1", [make_entry(f"hub/{text}.x") for text in texts], "now")
    for text in texts[:6]:
        odd = f"hub/{text}.x"
        assert names(registry, words=(text.upper(),)) == [odd]
        assert names(registry, architecture=text) == [odd]
        assert names(registry, architecture=f"*{text[1:]}") == [odd]


def test_a_word_that_no_text_can_hold_is_refused(filled: Registry) -> None:
    with pytest.raises(Invalid):
        filled.search(Query(words=("\ud800",)))
    assert names(filled, words=("x" * 200_000,)) == []


def test_the_limit_cuts_the_list_but_not_the_count(filled: Registry) -> None:
    query = Query(words=("timm",), limit=2)
    assert [found.name for found in filled.search(query)] == ["team/new:v2", LITE]
    assert filled.count(query) == 5


@pytest.mark.parametrize("limit", range(7))
def test_a_limit_takes_the_first_of_the_whole_list(filled: Registry, limit: int) -> None:
    found = filled.search(Query(limit=limit))
    assert [each.name for each in found] == names(filled)[:limit]
    assert [each.sources for each in found] == [
        each.sources for each in filled.search(Query())[:limit]
    ]


def test_what_is_as_old_comes_by_name_and_what_has_no_date_last(
    own: Registry,
    make_manifest: Callable[..., Manifest],
    move: Callable[..., RefEntry],
    digest: Callable[[int], Digest],
) -> None:
    for number, (ref, created) in enumerate(
        {"team/b": "2025-01-02", "team/a": "2025-01-02", "team/z": None, "team/y": None}.items(), 4
    ):
        own.add_checkpoint(digest(number), make_manifest(created=created, num_classes=number))
        own.set_ref(Reference.parse(ref), move(number))
    expected = ["team/new:v2", "team/a", "team/b", LITE, "team/old", "team/y", "team/z"]
    assert names(own, pulled=True) == expected
    for limit in range(len(expected)):
        found = own.search(Query(pulled=True, limit=limit))
        assert [each.name for each in found] == expected[:limit]


def add_copies(registry: Registry, numbers: range) -> None:
    """Copies of team/old, each a checkpoint of its own; at once, as one by one takes seconds."""
    table = schema.checkpoint
    with writing(registry._engine) as connection:
        source = select(table).where(table.c.manifest == f"blake3:{2:064x}")
        old = connection.execute(source).mappings().one()
        checkpoints, metrics, refs = [], [], []
        for number in numbers:
            key = {"manifest": f"blake3:{number:064x}"}
            named = {"namespace": "team", "name": f"orchard{number}", "tag": "latest"}
            checkpoints.append({**old, **key, "created": f"2024-{number:05}"})
            metrics.append({**key, "name": "accuracy", "value": number / 10_000})
            refs.append({**key, **named, "number": 1, "at": "2025-01-01"})
        connection.execute(insert(table), checkpoints)
        connection.execute(insert(schema.metric), metrics)
        connection.execute(insert(schema.ref), refs)
        items.rebuild(connection)


@pytest.mark.long
@only_sqlite
def test_a_search_takes_no_longer_the_more_checkpoints_there_are(
    own: Registry, digest: Callable[[int], Digest], steps: Steps
) -> None:
    queries = [
        Query.parse(text, sort=sort, limit=5)
        for text, sort in (
            ("", None),
            ("", "-accuracy"),
            ("team", None),
            ("team/old", None),
            ("zzzz", None),
            ("orchard17", None),
            ("accuracy=0.015", None),
            ("accuracy>2", "-accuracy"),
            ("num_classes=5 orchard150", "params"),
            ("parent:timm/lite0.in1k", None),
            ("updated>2025-02 orchard", None),
        )
    ]
    calls: list[Callable[[], object]] = [partial(own.search, query) for query in queries]
    calls += [partial(own.near, "team/olf"), partial(own.unknown, [digest(1)])]
    taken = []
    for numbers in (range(100, 200), range(200, 3000)):
        add_copies(own, numbers)
        taken.append([steps(own, call) for call in calls])
    for call, before, after in zip(calls, *taken, strict=True):
        assert after < 2 * before + 60, call


def test_a_catalog_entry_tells_what_is_known(filled: Registry) -> None:
    resnet, vit = filled.search(Query(pulled=False))
    assert (resnet.kind, resnet.pulled, resnet.manifest, resnet.created) == (
        "catalog", False, None, None
    )  # fmt: skip
    assert (resnet.backbone, resnet.architecture, resnet.tag) == ("timm", "resnet50", "a1_in1k")
    assert (resnet.license, resnet.hub_id, resnet.num_classes) == ("Apache-2.0", "org/repo", 1000)
    assert (resnet.params, resnet.input_size, resnet.mean) == (100, None, None)
    assert vit.sources == ("hub", "timm")


def test_a_checkpoint_tells_what_its_manifest_says(
    filled: Registry, digest: Callable[[int], Digest]
) -> None:
    _, lite, old = filled.search(Query(pulled=True))
    assert (old.kind, old.pulled, old.manifest) == ("checkpoint", True, digest(2))
    assert (old.metrics, lite.metrics) == ({"accuracy": 0.5}, {})
    assert (old.input_size, old.mean, old.std) == ((3, 32, 48), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (old.interpolation, old.crop_pct, old.crop_mode) == ("bilinear", 0.9, "squash")
    assert (old.params, old.num_classes, old.created) == (10, 5, "2025-01-01")
    assert (old.sources, old.tag, old.hub_id) == ((), None, None)
    assert (lite.sources, lite.tag, lite.hub_id) == (("timm",), "in1k", "org/lite")


def test_a_ref_to_something_else_does_not_pull_an_entry(
    own: Registry, move: Callable[..., RefEntry]
) -> None:
    own.set_ref(Reference.parse("team/resnet50.a1_in1k"), move(2))
    assert RESNET in names(own, pulled=False)
    # Under any tag it counts as pulled.
    own.set_ref(Reference.parse(f"{RESNET}:v1"), move(2))
    assert RESNET not in names(own)
    assert f"{RESNET}:v1" in names(own, pulled=True, source="timm")
