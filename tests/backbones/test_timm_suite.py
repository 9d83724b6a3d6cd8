"""timm's backbones against the conformance suite."""

from __future__ import annotations

import pytest
import timm
import torch

from zoo.domain.hierarchy import Hierarchy
from zoo.testing.backbones import BackboneSuite, check_coverage, check_order, check_stages
from zoo.testing.cuts import proves_cut
from zoo_timm.backbone import TimmBackbone

TRACED = ("swin_tiny_patch4_window7_224", "densenet121", "vgg11", "eva02_tiny_patch14_224")


def traced(architecture: str) -> tuple[torch.nn.Module, Hierarchy]:
    with torch.device("meta"):
        module = TimmBackbone().build(architecture)
    return module, TimmBackbone().hierarchy(architecture, module)


class TestTiny(BackboneSuite):
    @pytest.fixture(scope="class")
    def backbone(self) -> TimmBackbone:
        return TimmBackbone()

    @pytest.fixture(scope="class")
    def architectures(self) -> list[str]:
        return timm.list_models("test_*")


class TestReal(BackboneSuite):
    @pytest.fixture(scope="class")
    def backbone(self) -> TimmBackbone:
        return TimmBackbone()

    @pytest.fixture(scope="class")
    def architectures(self) -> list[str]:
        return ["resnet18", "convnext_atto", "vit_tiny_patch16_224"]


@pytest.mark.parametrize("architecture", TRACED)
def test_larger_families_are_traced_without_memory(architecture: str) -> None:
    module, hierarchy = traced(architecture)
    check_coverage(module, hierarchy)
    check_order(module, hierarchy, torch.zeros(1, 3, 224, 224, device="meta"))
    check_stages(hierarchy)
    assert len(hierarchy.units) > 7
    assert all(unit.cut for unit in hierarchy.units)


def test_multi_branch_stages_have_no_inner_cuts() -> None:
    torch.manual_seed(0)
    module = TimmBackbone().build("hrnet_w18_small").eval()
    hierarchy = TimmBackbone().hierarchy("hrnet_w18_small", module)
    images = torch.randn(1, 3, 64, 64)
    for unit in hierarchy.units:
        assert unit.cut == proves_cut(module, hierarchy, unit.depth, images), unit.name
    inner = [unit.cut for unit in hierarchy.units[1:]]
    assert any(inner)
    assert not all(inner)
    # The branches of a stage run side by side: none of them can be entered alone.
    for stage in ("stage3.0", "stage4.0"):
        inside = [u.cut for u in hierarchy.units if u.name.startswith(f"{stage}.branches")]
        assert not any(inside[1:])


@pytest.mark.parametrize(
    ("architecture", "units"),
    [
        (
            "tf_efficientnet_lite0",
            "stem:conv_stem blocks.0:blocks.0.0 blocks.1:blocks.1.0 blocks.1:blocks.1.1 "
            "blocks.2:blocks.2.0 blocks.2:blocks.2.1 blocks.3:blocks.3.0 blocks.3:blocks.3.1 "
            "blocks.3:blocks.3.2 blocks.4:blocks.4.0 blocks.4:blocks.4.1 blocks.4:blocks.4.2 "
            "blocks.5:blocks.5.0 blocks.5:blocks.5.1 blocks.5:blocks.5.2 blocks.5:blocks.5.3 "
            "blocks.6:blocks.6.0 conv_head:conv_head",
        ),
        (
            "resnet18",
            "stem:conv1 layer1:layer1.0 layer1:layer1.1 layer2:layer2.0 layer2:layer2.1 "
            "layer3:layer3.0 layer3:layer3.1 layer4:layer4.0 layer4:layer4.1",
        ),
    ],
)
def test_golden_units(architecture: str, units: str) -> None:
    _, hierarchy = traced(architecture)
    assert " ".join(f"{unit.stage}:{unit.name}" for unit in hierarchy.units) == units
    assert all(unit.cut for unit in hierarchy.units)


def test_stem_takes_its_norm_and_activation() -> None:
    _, hierarchy = traced("resnet18")
    assert hierarchy.units[0].modules == ("conv1", "bn1", "act1", "maxpool")
    assert hierarchy.units[0].shape == (1, 64, 56, 56)
    assert hierarchy.head.parameters == ("fc.weight", "fc.bias")


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "test_vit"])
def test_embeddings_belong_to_the_first_unit(architecture: str) -> None:
    _, hierarchy = traced(architecture)
    owner = {name: unit.depth for unit in hierarchy.units for name in unit.parameters}
    assert owner["pos_embed"] == 0
    assert owner["cls_token"] == 0


def test_boundary_specs_on_a_real_network() -> None:
    _, hierarchy = traced("tf_efficientnet_lite0")
    specs = {"none": 0, "all": 18, "blocks.4": 12, "blocks.4.0": 10, "conv_stem": 1, "-2": 16}
    assert {spec: hierarchy.boundary(spec) for spec in specs} == specs
