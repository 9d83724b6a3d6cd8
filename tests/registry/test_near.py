from __future__ import annotations

from collections.abc import Callable

import pytest

from zoo.domain.catalog import CatalogEntry
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.registry import Registry, suggestions

LITE = "timm/tf_efficientnet_lite0.in1k"
NAMES = (
    LITE,
    "an-organisation-of-long-name/net18.x",
    "timm/convnext_tiny.fb_in22k",
    "timm/convnext_tiny.in12k",
    "timm/resnet50.a1_in1k",
    "timm/test_vit.r160_in1k",
    "timm/vit_base_patch16_224.augreg_in1k",
)


@pytest.fixture(scope="session")
def fill(
    make_entry: Callable[..., CatalogEntry],
    make_manifest: Callable[..., Manifest],
    digest: Callable[[int], Digest],
    move: Callable[..., RefEntry],
) -> Callable[[Registry], Registry]:
    def fill(registry: Registry) -> Registry:
        registry.replace_entries("timm", "1", map(make_entry, NAMES), "now")
        registry.add_checkpoint(digest(1), make_manifest())
        registry.set_ref(Reference.parse("team/flowers:v3"), move(1))
        registry.set_ref(Reference.parse("team/flowers"), move(1))
        return registry

    return fill


@pytest.fixture(scope="module")
def filled(standing: Registry, fill: Callable[[Registry], Registry]) -> Registry:
    """Filled once; no test changes it."""
    return fill(standing)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("tf_efficientnet_lite0", LITE),  # neither namespace nor tag
        ("timm/tf_efficientnet_lite0", LITE),  # no tag
        ("tf_efficientnet_lite0.in1k", LITE),  # no namespace
        ("timm/tf_efficientnet_lit0.in1k", LITE),  # a typo
        ("TF_EfficientNet_Lit0", LITE),  # all of it
        ("net19", "an-organisation-of-long-name/net18.x"),
        ("resnet51", "timm/resnet50.a1_in1k"),
        ("timm/convnext_tiny.in", "timm/convnext_tiny.in12k"),  # not finished
        ("patch16", "timm/vit_base_patch16_224.augreg_in1k"),  # a part of a long name
        ("flowrs", "team/flowers"),
        ("flowers:v3", "team/flowers:v3"),
        ("team/flower:v4", "team/flowers:v3"),
    ],
)
def test_the_meant_name_comes_first(filled: Registry, typed: str, expected: str) -> None:
    assert filled.near(typed)[0] == expected


def test_all_tags_of_a_bare_name_are_suggested(filled: Registry) -> None:
    assert filled.near("convnext_tiny") == [
        "timm/convnext_tiny.fb_in22k",
        "timm/convnext_tiny.in12k",
    ]
    assert filled.near("convnext_tiny", limit=1) == ["timm/convnext_tiny.fb_in22k"]


@pytest.mark.parametrize("typed", ["", " ", "zzzzqqqq", "\ud800", "x" * 100_000])
def test_nothing_is_near_nonsense(filled: Registry, typed: str) -> None:
    assert filled.near(typed) == []


def test_a_typo_is_found_among_many_names_that_are_alike(
    registry: Registry, fill: Callable[[Registry], Registry], move: Callable[..., RefEntry],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(suggestions, "CANDIDATES", 20)
    fill(registry)
    for number in range(40):
        registry.set_ref(Reference("team", f"orchards-{number}"), move(1))
    assert registry.near("team/flowerz")[0] == "team/flowers"
    assert registry.near("team/orchard-39")[0] == "team/orchards-39"
    assert registry.near("tf_efficientnet_lit0")[0] == LITE
