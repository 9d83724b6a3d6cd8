"""Hierarchies as data, and kept in the registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fakes.sampled import sampled

from zoo import plugins
from zoo.backbones.describe import describe
from zoo.backbones.trace import trace
from zoo.domain.hierarchy import Hierarchy
from zoo.errors import UnknownName, Unsupported
from zoo.workspace import Workspace
from zoo_timm.backbone import TimmBackbone


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.create(tmp_path / "zoo")
    yield workspace
    workspace.close()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every architecture that is traced, which all are of which nothing is known."""
    monkeypatch.setattr(plugins, "known", lambda name: None)
    names: list[str] = []
    original = TimmBackbone.hierarchy

    def counted(
        self: TimmBackbone, architecture: str, module: torch.nn.Module, *,
        input_size: tuple[int, int, int] | None = None,
    ) -> Hierarchy:  # fmt: skip
        names.append(architecture)
        return original(self, architecture, module, input_size=input_size)

    monkeypatch.setattr(TimmBackbone, "hierarchy", counted)
    return names


@pytest.mark.parametrize(
    "architecture",
    sampled(["test_vit", "test_resnet", "hrnet_w18_small"], ["test_vit", "test_resnet"]),
)
def test_json_round_trip(architecture: str) -> None:
    with torch.device("meta"):
        module = TimmBackbone().build(architecture)
    hierarchy = TimmBackbone().hierarchy(architecture, module)
    text = json.dumps(hierarchy.to_json())
    assert Hierarchy.from_json(json.loads(text)) == hierarchy


def test_an_architecture_is_traced_once(workspace: Workspace, traced: list[str]) -> None:
    first = describe(workspace.registry, "timm", "test_resnet")
    assert describe(workspace.registry, "timm", "test_resnet") == first
    workspace.close()
    assert describe(workspace.registry, "timm", "test_resnet") == first
    assert traced == ["test_resnet"]


def test_a_new_plugin_version_is_traced_again(
    workspace: Workspace, traced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    describe(workspace.registry, "timm", "test_resnet")
    monkeypatch.setattr("zoo_timm.version", lambda: "next")
    describe(workspace.registry, "timm", "test_resnet")
    assert traced == ["test_resnet", "test_resnet"]


def test_unknown_names_keep_nothing(workspace: Workspace, traced: list[str]) -> None:
    with pytest.raises(UnknownName, match="resnett18") as caught:
        describe(workspace.registry, "timm", "resnett18")
    assert "resnet18" in caught.value.near
    with pytest.raises(UnknownName, match="tim"):
        describe(workspace.registry, "tim", "resnet18")
    assert traced == []


def test_a_network_that_does_not_take_images_is_unsupported() -> None:
    module = torch.nn.Linear(7, 3)
    with pytest.raises(Unsupported, match="odd cannot be traced"):
        trace("odd", module, input_size=(3, 8, 8))


def test_a_network_that_is_all_head_is_unsupported() -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    with pytest.raises(Unsupported, match="no units"):
        trace("odd", module, input_size=(3, 2, 2), head=["1"])


def test_tracing_leaves_the_module_as_it_was() -> None:
    module = TimmBackbone().build("test_resnet").train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    TimmBackbone().hierarchy("test_resnet", module)
    assert all(child.training for child in module.modules())
    assert not any(child._forward_pre_hooks or child._forward_hooks for child in module.modules())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
