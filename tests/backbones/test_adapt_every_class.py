"""Other channels and image sizes on each of timm's model classes: fitted, or clearly refused.

`make check-backbones` runs this.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from backbones.smallest import CLASSES
from torch import nn

from zoo.backbones.adapt import misfits
from zoo.backbones.untrained import on_meta
from zoo.domain.surgery import BuildOptions
from zoo.errors import Unsupported
from zoo.exchange.adapt import check_runs
from zoo_timm.backbone import TimmBackbone

pytestmark = pytest.mark.backbones

SIDES = (64, 128, 160)
ONE_SIZE = {
    "Cait", "ConVit", "CrossVit", "EfficientFormer", "EfficientFormerV2", "GlobalContextVit",
    "Hiera", "Levit", "LevitDistilled", "MlpMixer", "Nest", "PoolingVisionTransformer", "VOLO",
    "VisionTransformerSAM", "Visformer",
}  # fmt: skip
"""Classes whose weights depend on the size of images, and for which timm has no rule."""

NORMALIZED = "NormFreeNet"
"""Its convolutions normalize their weights, and so whatever is done to them."""


def takes(module: nn.Module, side: int) -> bool:
    # Each class refuses what does not fit in a way of its own.
    with suppress(AssertionError, IndexError, RuntimeError, ValueError):
        module.eval()(torch.zeros(1, 3, side, side))
        return True
    return False


@torch.no_grad()
@pytest.mark.parametrize("architecture", CLASSES.values(), ids=CLASSES.keys())
def test_gray_images_give_what_they_gave_in_color(architecture: str) -> None:
    """As one channel, and as the three of them over again."""
    plugin = TimmBackbone()
    torch.manual_seed(0)
    whole = plugin.build(architecture).eval()
    native = plugin.preprocessing(whole).input_size[1]
    side = next((side for side in SIDES if takes(whole, side)), native)
    gray = torch.randn(1, 1, side, side)
    expected = whole(gray.expand(1, 3, side, side))
    for channels in (1, 6):
        if type(whole).__name__ == "CSATv2":
            with pytest.raises(Unsupported, match="designed for 3-channel"):
                plugin.build(architecture, BuildOptions(channels=channels))
            continue
        module = plugin.build(architecture, BuildOptions(channels=channels)).eval()
        module.load_state_dict(dict(plugin.fit_weights(module, whole.state_dict())))
        given = module(gray.expand(1, channels, side, side))
        if type(whole).__name__ == NORMALIZED:
            continue
        assert torch.allclose(given, expected, atol=1e-3 * expected.abs().max().item())


@pytest.mark.parametrize("architecture", CLASSES.values(), ids=CLASSES.keys())
def test_twice_the_size_is_fitted_or_refused(architecture: str) -> None:
    plugin = TimmBackbone()
    with on_meta():
        whole = plugin.build(architecture)
        channels, height, width = plugin.preprocessing(whole).input_size
        size = (channels, 2 * height, 2 * width)
        try:
            module = plugin.build(architecture, BuildOptions(image_size=size[1:]))
            check_runs(module, architecture, size)
            fitted = not misfits(module, plugin.fit_weights(module, whole.state_dict()))
        except Unsupported:
            fitted = False
    assert fitted == (type(whole).__name__ not in ONE_SIZE)
