"""timm's backbones against the conformance suite."""

from __future__ import annotations

from functools import cache

import pytest
import timm
import torch
from fakes.sampled import sampled

from zoo.domain.hierarchy import Hierarchy
from zoo.domain.surgery import BuildOptions
from zoo.testing.backbones import BackboneSuite, check_coverage, check_order, check_stages
from zoo.testing.cuts import proves_cut
from zoo_timm.backbone import TimmBackbone

QUICK = ("test_resnet", "test_vit")
REAL = ("resnet18", "convnext_atto", "vit_tiny_patch16_224")
TRACED = ("swin_tiny_patch4_window7_224", "densenet121", "vgg11", "eva02_tiny_patch14_224")


@cache
def traced(architecture: str) -> tuple[torch.nn.Module, Hierarchy]:
    with torch.device("meta"):
        module = TimmBackbone().build(architecture)
    return module, TimmBackbone().hierarchy(architecture, module)


class TestTiny(BackboneSuite):
    @pytest.fixture
    def backbone(self) -> TimmBackbone:
        return TimmBackbone()

    @pytest.fixture
    def architectures(self) -> list[str]:
        return list(QUICK)


@pytest.mark.long
class TestEveryTiny(TestTiny):
    @pytest.fixture
    def architectures(self) -> list[str]:
        return [name for name in timm.list_models("test_*") if name not in QUICK]


@pytest.mark.long
class TestReal(BackboneSuite):
    @pytest.fixture
    def backbone(self) -> TimmBackbone:
        return TimmBackbone()

    @pytest.fixture
    def architectures(self) -> list[str]:
        return list(REAL)


@pytest.mark.parametrize(
    "architecture", sampled([*timm.list_models("test_*"), *REAL], [*QUICK, "resnet18"])
)
def test_every_boundary_of_a_single_file_of_blocks_is_a_cut(architecture: str) -> None:
    _, hierarchy = traced(architecture)
    assert len(hierarchy.units) >= 5
    assert all(unit.cut for unit in hierarchy.units)


@pytest.mark.parametrize("architecture", sampled(TRACED, ["swin_tiny_patch4_window7_224", "vgg11"]))
def test_larger_families_are_traced_without_memory(architecture: str) -> None:
    module, hierarchy = traced(architecture)
    check_coverage(module, hierarchy)
    check_order(module, hierarchy, torch.zeros(1, 3, 224, 224, device="meta"))
    check_stages(hierarchy)
    assert len(hierarchy.units) > 7
    assert all(unit.cut for unit in hierarchy.units)


@pytest.mark.long
def test_multi_branch_stages_have_no_inner_cuts() -> None:
    torch.manual_seed(0)
    module = TimmBackbone().build("hrnet_w18_small").eval()
    hierarchy = TimmBackbone().hierarchy("hrnet_w18_small", module)
    images = torch.randn(1, 3, 64, 64)
    for unit in hierarchy.units:
        assert unit.cut == proves_cut(module, hierarchy, unit.depth, images), unit.name
    # Branches run side by side: the network can be entered at a whole stage, and at none of them.
    assert {unit.name for unit in hierarchy.units if unit.cut} == {
        "conv1", "conv2", "layer1.0", "stage2.0", "stage3.0", "stage4.0", "final_layer",
    }  # fmt: skip
    assert {unit.name.split(".")[0] for unit in hierarchy.units if not unit.cut} == {
        "transition1", "transition2", "transition3", "incre_modules", "downsamp_modules",
    }  # fmt: skip


@pytest.mark.long
def test_a_shared_module_belongs_to_the_unit_that_runs_it_first() -> None:
    # CoaT's serial blocks and its parallel ones have position encodings in common.
    torch.manual_seed(0)
    module = TimmBackbone().build("coat_tiny", BuildOptions(image_size=(64, 64))).eval()
    hierarchy = TimmBackbone().hierarchy("coat_tiny", module, input_size=(3, 64, 64))
    images = torch.randn(1, 3, 64, 64)
    check_coverage(module, hierarchy)
    check_order(module, hierarchy, images)
    owner = {name: unit.name for unit in hierarchy.units for name in unit.parameters}
    assert owner["cpe2.proj.weight"] == "serial_blocks2.0"
    cuts = [unit for unit in hierarchy.units if unit.cut]
    assert len(cuts) > 3
    few = cuts[:: len(cuts) // 3]  # `make check-backbones` proves them all
    assert all(proves_cut(module, hierarchy, unit.depth, images) for unit in few)


@pytest.mark.parametrize(
    ("architecture", "units"),
    [
        pytest.param(
            "tf_efficientnet_lite0",
            "stem:conv_stem blocks.0:blocks.0.0 blocks.1:blocks.1.0 blocks.1:blocks.1.1 "
            "blocks.2:blocks.2.0 blocks.2:blocks.2.1 blocks.3:blocks.3.0 blocks.3:blocks.3.1 "
            "blocks.3:blocks.3.2 blocks.4:blocks.4.0 blocks.4:blocks.4.1 blocks.4:blocks.4.2 "
            "blocks.5:blocks.5.0 blocks.5:blocks.5.1 blocks.5:blocks.5.2 blocks.5:blocks.5.3 "
            "blocks.6:blocks.6.0 conv_head:conv_head",
            marks=pytest.mark.long,
        ),
        (
            "resnet18",
            "stem:conv1 layer1:layer1.0 layer1:layer1.1 layer2:layer2.0 layer2:layer2.1 "
            "layer3:layer3.0 layer3:layer3.1 layer4:layer4.0 layer4:layer4.1",
        ),
        (
            "vit_tiny_patch16_224",
            "stem:patch_embed " + " ".join(f"blocks:blocks.{n}" for n in range(12)),
        ),
        (
            "swin_tiny_patch4_window7_224",
            "stem:patch_embed layers.0:layers.0.blocks.0 layers.0:layers.0.blocks.1 "
            "layers.1:layers.1.downsample layers.1:layers.1.blocks.0 layers.1:layers.1.blocks.1 "
            "layers.2:layers.2.downsample "
            + " ".join(f"layers.2:layers.2.blocks.{n}" for n in range(6))
            + " layers.3:layers.3.downsample layers.3:layers.3.blocks.0 "
            "layers.3:layers.3.blocks.1",
        ),
        (
            "test_convnext",
            "stem:stem stages.0:stages.0.blocks.0 stages.1:stages.1.downsample "
            "stages.1:stages.1.blocks.0 stages.1:stages.1.blocks.1 stages.2:stages.2.downsample "
            + " ".join(f"stages.2:stages.2.blocks.{n}" for n in range(4))
            + " stages.3:stages.3.downsample stages.3:stages.3.blocks.0 stages.3:stages.3.blocks.1",
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
