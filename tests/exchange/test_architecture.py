"""Which hierarchy a name stands for, and for how long it is kept."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from fakes.checkpoints import PREPROCESSING, add_checkpoint

from zoo.domain.catalog import CatalogEntry
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.manifest import Backbone, Head, Manifest
from zoo.errors import UnknownName
from zoo.exchange import architecture as module
from zoo.exchange.architecture import hierarchy_of
from zoo.registry import Query
from zoo.workspace import Workspace

TINY = Backbone(plugin="timm", architecture="test_resnet")


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each checkpoint that is traced has for a head."""
    heads: list[str] = []
    trace = module._traced

    def counted(manifest: Manifest) -> Hierarchy:
        heads.append(f"{manifest.head.kind} {manifest.head.num_classes}")
        return trace(manifest)

    monkeypatch.setattr(module, "_traced", counted)
    return heads


def test_a_checkpoint_is_traced_once(workspace: Workspace, traced: list[str]) -> None:
    add_checkpoint(workspace, "team/a", backbone=TINY, head=Head(kind="linear", num_classes=3))
    first = hierarchy_of(workspace, "team/a")
    assert first.head.shape == (1, 3)
    workspace.close()
    assert hierarchy_of(workspace, "team/a") == first
    # Another checkpoint of the same network is known, too.
    add_checkpoint(
        workspace, "team/b", backbone=TINY, head=Head(kind="linear", num_classes=3),
        classes=("x", "y", "z"),
    )  # fmt: skip
    assert hierarchy_of(workspace, "team/b") == first
    assert traced == ["linear 3"]


@pytest.mark.long
def test_another_network_has_another_hierarchy(workspace: Workspace) -> None:
    """Whatever it differs in."""
    networks: dict[str, dict[str, Any]] = {
        "team/first": {},
        "team/wide": {"head": Head(kind="linear", num_classes=5)},
        "team/deep": {"head": Head(kind="mlp", num_classes=3)},
        "team/large": {"preprocessing": replace(PREPROCESSING, input_size=(3, 64, 64))},
        "team/other": {"backbone": replace(TINY, architecture="test_efficientnet")},
        "team/short": {"backbone": replace(TINY, options={"truncate": "layer2"})},
    }
    for name, known in networks.items():
        plain = {"backbone": TINY, "head": Head(kind="linear", num_classes=3)}
        add_checkpoint(workspace, name, **{**plain, **known})
    first = {name: hierarchy_of(workspace, name) for name in networks}
    assert all(one != other for one, other in combinations(first.values(), 2))
    assert {name: hierarchy_of(workspace, name) for name in networks} == first


@pytest.mark.parametrize("changed", ["backbone", "head"])
def test_a_new_version_of_a_plugin_is_traced_again(
    workspace: Workspace, traced: list[str], monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    add_checkpoint(workspace, "team/a", backbone=TINY, head=Head(kind="mlp", num_classes=3))
    hierarchy_of(workspace, "team/a")
    if changed == "backbone":
        monkeypatch.setattr("zoo_timm.version", lambda: "next")
    else:
        monkeypatch.setattr("zoo.plugins.origin", lambda group, name: f"{group} {name} next")
    hierarchy_of(workspace, "team/a")
    hierarchy_of(workspace, "team/a")
    assert traced == ["mlp 3", "mlp 3"]


def test_checkpoints_change_nothing_of_what_is_known_of_their_architecture(
    workspace: Workspace,
) -> None:
    entry = CatalogEntry(name="timm/test_resnet.in1k", architecture="test_resnet", backbone="timm")
    workspace.registry.replace_entries("timm", "1", [entry], "2026-01-01T00:00:00Z")
    own = hierarchy_of(workspace, "test_resnet")
    add_checkpoint(workspace, "team/a", backbone=TINY, head=Head(kind="linear", num_classes=5000))
    assert hierarchy_of(workspace, "team/a").params > own.params
    (listed,) = workspace.registry.search(Query.parse("source:timm"))
    assert listed.params == own.params
    assert hierarchy_of(workspace, "test_resnet") == own


def test_a_name_of_several_plugins_is_told_apart(workspace: Workspace) -> None:
    theirs = hierarchy_of(workspace, "torchvision/resnet18")
    assert {unit.name for unit in theirs.units} >= {"conv1", "layer1.0"}
    entry = CatalogEntry(name="timm/resnet18.in1k", architecture="resnet18", backbone="timm")
    workspace.registry.replace_entries("timm", "1", [entry], "2026-01-01T00:00:00Z")
    assert hierarchy_of(workspace, "resnet18") == hierarchy_of(workspace, "timm/resnet18")
    assert "act1" in hierarchy_of(workspace, "resnet18").units[0].modules  # timm's name
    assert hierarchy_of(workspace, "torchvision/resnet18") == theirs


def test_import_paths_go_without_being_listed(workspace: Workspace) -> None:
    assert hierarchy_of(workspace, "fakes.own_nets:ConvNet").units[0].name == "stem"
    assert hierarchy_of(workspace, "torch/fakes.own_nets:ConvNet").units[0].name == "stem"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("timm/resnet18x", "timm/resnet18"),
        ("torchvision/resnet18x", "torchvision/resnet18"),
        ("resnet18x", "resnet18"),
        ("dinov2-smal", "dinov2-small"),
        ("fakes.own_nets:ConvNett", "fakes.own_nets:ConvNet"),
    ],
)
def test_near_names_are_suggested(workspace: Workspace, name: str, near: str) -> None:
    with pytest.raises(UnknownName) as caught:
        hierarchy_of(workspace, name)
    assert (caught.value.name, near in caught.value.near) == (name, True)
