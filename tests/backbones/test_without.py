"""Taking a unit out of the middle: only where running it proves that the rest can do without."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from zoo.backbones.load import assign
from zoo.backbones.surgery import SurgeryBackbone
from zoo.backbones.untrained import on_meta
from zoo.backbones.without import check_removable
from zoo.domain.hierarchy import Unit
from zoo.domain.surgery import Surgery
from zoo.errors import Unsupported
from zoo_timm.backbone import TimmBackbone
from zoo_torchvision.backbone import TorchvisionBackbone


@pytest.mark.parametrize(
    ("architecture", "unit"),
    [
        ("test_vit", "blocks.2"),
        ("test_convnext", "stages.2.blocks.1"),
        pytest.param("tf_efficientnet_lite0", "blocks.2.1", marks=pytest.mark.long),
        pytest.param(
            "resnet26", "layer3.1", marks=pytest.mark.long
        ),  # an activation follows the addition
    ],
)
def test_a_residual_unit_is_passed_by(architecture: str, unit: str) -> None:
    torch.manual_seed(0)
    whole = timm.create_model(architecture).eval()
    images = torch.randn(1, *TimmBackbone().preprocessing(whole).input_size)
    backbone = SurgeryBackbone(TimmBackbone(), Surgery(without=(unit,)), architecture)
    state = backbone.fit_weights(backbone.build(architecture), whole.state_dict())
    module = assign(lambda: backbone.build(architecture), state, backbone, name="whole")
    assert set(whole.state_dict()) - set(module.state_dict()) == {
        name for name in whole.state_dict() if name.startswith(f"{unit}.")
    }
    assert unit not in [part.name for part in backbone.hierarchy(architecture, module).units]
    whole.get_submodule(unit).forward = lambda features, *_, **__: features
    with torch.no_grad():
        assert torch.equal(module(images), whole(images))


@pytest.mark.parametrize(
    ("architecture", "unit", "why"),
    [
        ("test_efficientnet", "blocks.2.0", r"it turns 1x\d+x\d+x\d+ into 1x\d+x\d+x\d+"),
        ("test_efficientnet", "conv_stem", "conv_stem, bn1"),
        ("test_vit", "blocks.5", "blocks.5, norm, one after the other"),
    ],
)
def test_others_are_refused_with_the_reason(architecture: str, unit: str, why: str) -> None:
    with pytest.raises(Unsupported, match=why):
        SurgeryBackbone(TimmBackbone(), Surgery(without=(unit,)), architecture)


def test_the_same_shape_is_not_enough() -> None:
    """VGG's convolutions in a row keep shapes, and are not residual."""
    with pytest.raises(Unsupported, match=r"features.8 cannot be removed: it is not a residual"):
        SurgeryBackbone(TorchvisionBackbone(), Surgery(without=("features.8",)), "vgg11")


class Net(nn.Module):
    """A stem and the unit in question."""

    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.stem, self.unit = nn.Conv2d(3, 4, 1), unit

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.unit(self.stem(images))
        return result


class Gate(nn.Module):
    """Keeps shapes and hands on its input, but multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, features: Tensor) -> Tensor:
        gates: Tensor = self.conv(features).sigmoid()
        return features * gates


class Residual(Gate):
    def forward(self, features: Tensor) -> Tensor:
        more: Tensor = self.conv(features)
        return features + more


def test_the_proof_runs_the_unit() -> None:
    with on_meta():
        residual, gate = Net(Residual()), Net(Gate())
    check_removable(residual, UNIT, (3, 8, 8))
    with pytest.raises(Unsupported, match="not a residual unit"):
        check_removable(gate, UNIT, (3, 8, 8))


UNIT = Unit(
    name="unit", stage="unit", depth=1, modules=("unit",), parameters=("unit.conv.weight",),
    buffers=(), params=20, shape=(1, 4, 8, 8), cut=True,
)  # fmt: skip
