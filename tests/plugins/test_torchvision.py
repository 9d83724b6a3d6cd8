"""torchvision's networks against the conformance suite, at small images where they take them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch
from fakes.sampled import sampled
from torch import nn
from torchvision import models

from zoo.domain.hierarchy import Hierarchy
from zoo.domain.manifest import Preprocessing
from zoo.domain.surgery import BuildOptions
from zoo.errors import UnknownName, Unsupported
from zoo.testing.backbones import BackboneSuite, check_coverage, check_order, check_stages
from zoo_torchvision.backbone import TorchvisionBackbone

QUICK = ("mobilenet_v3_small",)
SMALL = (
    "efficientnet_b0",
    "googlenet",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
)
FAMILIES = {
    "alexnet": 7,
    "convnext_tiny": 22,
    "densenet121": 8,
    "efficientnet_b0": 18,
    "efficientnet_v2_s": 42,
    "googlenet": 12,
    "inception_v3": 16,
    "maxvit_t": 36,
    "mnasnet0_5": 20,
    "mobilenet_v2": 19,
    "mobilenet_v3_small": 14,
    "regnet_x_400mf": 23,
    "regnet_y_400mf": 17,
    "resnet18": 9,
    "shufflenet_v2_x0_5": 18,
    "squeezenet1_1": 9,
    "swin_t": 16,
    "swin_v2_t": 16,
    "vgg11": 10,
    "vit_b_16": 13,
}
"""The smallest architecture of each family, and how many units it has: every one is a cut."""


FEW = ("mobilenet_v2", "resnet18", "vit_b_16")
"""Of these for each change."""
DEPTHS = {
    "resnet18": ("layer2", 5, "layer3.0"),
    "mobilenet_v2": ("features.3", 4, "features.4"),
    "efficientnet_b0": ("features.3", 6, "features.4.0"),
    "convnext_tiny": ("features.3", 8, "features.4"),
    "swin_t": ("features.5.2", 10, "features.5.3"),
    "vit_b_16": ("encoder.layers.encoder_layer_4", 6, "encoder.layers.encoder_layer_5"),
    "regnet_y_400mf": ("trunk_output.block2", 5, "trunk_output.block3.block3-0"),
    "shufflenet_v2_x0_5": ("stage3", 13, "stage4.0"),
    "densenet121": ("features.denseblock2", 4, "features.transition2"),
    "googlenet": ("inception4a", 6, "inception4b"),
    "inception_v3": ("Mixed_6e", 13, "Mixed_7a"),
    "maxvit_t": ("blocks.1", 14, "blocks.2.layers.0.layers.MBconv"),
    "alexnet": ("features", 5, "classifier.1"),
    "vgg11": ("features", 8, "classifier.0"),
    "squeezenet1_1": ("features.4", 3, "features.6"),
    "mnasnet0_5": ("layers.9", 9, "layers.10.0"),
}
"""Up to where a network is frozen: how many units that is, and what comes next."""


class SmallImages(TorchvisionBackbone):
    """Asks for images of a size at which the CPU is quick."""

    def preprocessing(self, module: nn.Module) -> Preprocessing:
        how = super().preprocessing(module)
        own = how.input_size[1:] == (224, 224)
        return replace(how, input_size=(how.input_size[0], 64, 64)) if own else how


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small networks are slowed down by threads, and sums in one order are bit-equal."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class TestSmall(BackboneSuite):
    @pytest.fixture
    def backbone(self) -> TorchvisionBackbone:
        return SmallImages()

    @pytest.fixture
    def architectures(self) -> list[str]:
        return list(QUICK)


@pytest.mark.long
class TestEverySmall(TestSmall):
    @pytest.fixture
    def architectures(self) -> list[str]:
        return [name for name in SMALL if name not in QUICK]


@pytest.mark.backbones
class TestFamilies(BackboneSuite):
    @pytest.fixture
    def backbone(self) -> TorchvisionBackbone:
        return TorchvisionBackbone()

    @pytest.fixture(params=FAMILIES)
    def architectures(self, request: pytest.FixtureRequest) -> list[str]:
        return [request.param]


@pytest.mark.backbones
def test_every_architecture_is_covered_exactly_and_every_boundary_is_a_cut() -> None:
    backbone = TorchvisionBackbone()
    assert set(models.list_models(module=models)) <= set(backbone.architectures())
    for architecture in backbone.architectures():
        module, hierarchy = traced.__wrapped__(architecture)
        check_coverage(module, hierarchy)
        images = torch.zeros(1, *backbone.preprocessing(module).input_size, device="meta")
        check_order(module, hierarchy, images)
        check_stages(hierarchy)
        assert all(unit.cut for unit in hierarchy.units), architecture


@cache
def traced(architecture: str) -> tuple[nn.Module, Hierarchy]:
    backbone = TorchvisionBackbone()
    with torch.device("meta"):
        module = backbone.build(architecture)
    assert all(tensor.is_meta for tensor in (*module.parameters(), *module.buffers()))
    return module, backbone.hierarchy(architecture, module)


@pytest.mark.parametrize("architecture", sampled(FAMILIES, FEW))
def test_units_of_each_family(architecture: str) -> None:
    module, hierarchy = traced(architecture)
    check_coverage(module, hierarchy)
    check_stages(hierarchy)
    assert len(hierarchy.units) == FAMILIES[architecture]
    assert all(unit.cut for unit in hierarchy.units)


@pytest.mark.parametrize("architecture", sampled(DEPTHS, FEW))
def test_depth_is_named_as_in_torchvision(architecture: str) -> None:
    frozen, units, next_unit = DEPTHS[architecture]
    _, hierarchy = traced(architecture)
    assert hierarchy.boundary(frozen) == units
    assert hierarchy.boundary_name(units) == next_unit


def test_embeddings_belong_to_the_first_unit() -> None:
    _, hierarchy = traced("vit_b_16")
    assert {"class_token", "encoder.pos_embedding"} <= set(hierarchy.units[0].parameters)


@pytest.mark.parametrize("architecture", sampled(FAMILIES, FEW))
def test_the_head_is_the_layer_that_gives_the_classes(architecture: str) -> None:
    with torch.device("meta"):
        module = TorchvisionBackbone().build(architecture, BuildOptions(num_classes=123))
    path, *auxiliary = TorchvisionBackbone().head_modules(module)
    assert module.get_parameter(f"{path}.weight").shape[0] == 123
    assert (auxiliary != []) == (architecture in ("googlenet", "inception_v3"))


def test_auxiliary_heads_take_no_part_and_follow_a_new_head() -> None:
    backbone = TorchvisionBackbone()
    module = backbone.build("googlenet")
    backbone.replace_head(module, 3, lambda features: nn.Linear(features, 3))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    outputs = module.train()(torch.randn(2, 3, 64, 64))
    assert outputs.shape == (2, 3)
    outputs.sum().backward()
    assert module.get_parameter("aux1.fc2.weight").shape == (3, 1024)
    for name, value in module.state_dict().items():
        assert not name.startswith("aux") or torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in module.get_submodule("aux1").parameters())


def test_a_head_on_squeezenet_gets_averaged_features() -> None:
    backbone = TorchvisionBackbone()
    module = backbone.build("squeezenet1_1").eval()
    backbone.replace_head(module, 3, lambda features: nn.Linear(features, 3))
    *_, last = module.get_submodule("classifier").children()
    with torch.no_grad():
        last.get_parameter("weight").fill_(-1)
    images = torch.randn(2, 3, 64, 64)
    features = module.get_submodule("features")(images).mean(dim=(2, 3))
    assert torch.allclose(module(images), last(features), atol=1e-5)
    assert (module(images) < 0).any()  # torchvision's own gives none
    backbone.replace_head(module, 5, lambda features: nn.Linear(features, 5))
    assert module(images).shape == (2, 5)


def test_a_head_that_somebody_else_put_in_is_not_replaced() -> None:
    backbone = TorchvisionBackbone()
    module = backbone.build("resnet18")
    backbone.replace_head(module, 3, lambda features: nn.Sequential(nn.Linear(features, 3)))
    assert backbone.hierarchy("resnet18", module).head.modules == ("fc",)
    backbone.replace_head(module, 3, lambda features: nn.Linear(features, 3))
    module.fc = nn.Sequential(nn.Linear(512, 3))
    with pytest.raises(Unsupported, match="Sequential"):
        backbone.replace_head(module, 3, lambda features: nn.Linear(features, 3))


def test_image_sizes_that_decide_shapes_are_part_of_the_name() -> None:
    backbone = TorchvisionBackbone()
    extra = set(backbone.architectures()) - set(models.list_models(module=models))
    assert extra == {"vit_b_16_384", "vit_l_16_512", "vit_h_14_518"}
    with torch.device("meta"):
        module = backbone.build("vit_b_16_384", BuildOptions(tag="IMAGENET1K_SWAG_E2E_V1"))
        assert module.get_parameter("encoder.pos_embedding").shape == (1, 577, 768)
        assert backbone.preprocessing(module).input_size == (3, 384, 384)
        with pytest.raises(UnknownName) as caught:
            backbone.build("vit_b_16", BuildOptions(tag="IMAGENET1K_SWAG_E2E_V1"))
        assert "vit_b_16.IMAGENET1K_V1" in caught.value.near


def test_typos_in_architecture_and_tag_are_answered_with_near_names() -> None:
    with pytest.raises(UnknownName, match="resnet51") as caught:
        TorchvisionBackbone().build("resnet51")
    assert "resnet50" in caught.value.near
    with pytest.raises(UnknownName, match=r"resnet50\.V3") as caught:
        TorchvisionBackbone().build("resnet50", BuildOptions(tag="V3"))
    assert "resnet50.IMAGENET1K_V2" in caught.value.near


def test_names_of_old_densenet_files_are_converted() -> None:
    backbone = TorchvisionBackbone()
    with torch.device("meta"):
        module = backbone.build("densenet121")
    own = list(module.state_dict())
    old = [name.replace("norm1", "norm.1").replace("norm2", "norm.2") for name in own]
    old = [name.replace("conv1", "conv.1").replace("conv2", "conv.2") for name in old]
    assert old != own
    assert list(backbone.convert(module, old).values()) == own
