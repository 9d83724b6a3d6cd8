"""Weights for other image sizes and numbers of channels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.typed import pretrained_cfg
from safetensors.torch import save_file
from torch import nn
from torchvision.models import VisionTransformer

from zoo.backbones.adapt import adapt_channels
from zoo.backbones.load import check_fit
from zoo.contracts import Backbone
from zoo.domain.surgery import BuildOptions
from zoo.errors import Unsupported
from zoo_timm.backbone import TimmBackbone
from zoo_torchvision import sizes
from zoo_torchvision.backbone import TorchvisionBackbone


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        ("test_vit", (96, 128)),  # position embeddings
        ("test_vit4", (192, 192)),  # rotary ones
        ("test_convnext", (96, 128)),  # nothing to fit
        pytest.param(
            "swin_tiny_patch4_window7_224", (288, 224), marks=pytest.mark.long
        ),  # windows and biases
    ],
)
def test_image_sizes_are_fitted_as_timm_does(
    architecture: str, size: tuple[int, int], tmp_path: Path
) -> None:
    """timm's own loading of a file into a network of another ``img_size`` is the judge."""
    plugin = TimmBackbone()
    torch.manual_seed(0)
    whole = timm.create_model(architecture).eval()
    module = plugin.build(architecture, BuildOptions(image_size=size)).eval()
    state = plugin.fit_weights(module, whole.state_dict())
    check_fit(module, state, architecture)
    module.load_state_dict(dict(state))
    options: dict[str, Any] = (
        {"img_size": size} if pretrained_cfg(whole)["fixed_input_size"] else {}
    )
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    overlay = {"file": str(tmp_path / "whole.safetensors")}
    theirs = timm.create_model(
        architecture, pretrained=True, pretrained_cfg_overlay=overlay, **options
    ).eval()
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        assert torch.equal(module(images), theirs(images))
    assert plugin.preprocessing(module).input_size == (3, *size)
    for name, tensor in whole.state_dict().items():
        if name in state and state[name].shape == tensor.shape:
            assert state[name].data_ptr() == tensor.data_ptr(), name  # and so is stored once


def test_torchvisions_positions_are_interpolated() -> None:
    options: dict[str, Any] = {"patch_size": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 16,
                               "mlp_dim": 16}  # fmt: skip
    torch.manual_seed(0)
    small, large = (VisionTransformer(image_size=side, **options) for side in (32, 64))
    embedding = small.encoder.pos_embedding.data
    embedding.copy_(torch.arange(16.0).expand_as(embedding))  # the same at every place
    state = sizes.fit_weights(large, small.state_dict())
    check_fit(large, state, "vit")
    fitted = state["encoder.pos_embedding"]
    assert fitted.shape == (1, 65, 16)
    assert torch.allclose(fitted, torch.arange(16.0).expand(1, 65, 16), atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "architecture", "wanted", "why"),
    [
        (TimmBackbone(), "mvitv2_tiny", {"image_size": (128, 192)}, "of 128 x 192 pixels"),
        (TimmBackbone(), "csatv2", {"channels": 4}, "designed for 3-channel"),
        (TorchvisionBackbone(), "vit_b_16", {"image_size": (224, 256)}, "square images only"),
        (TorchvisionBackbone(), "vit_b_16", {"image_size": (225, 225)}, "225 x 225 pixels"),
        (TorchvisionBackbone(), "maxvit_t", {"image_size": (200, 200)}, "200 x 200 pixels"),
        (TorchvisionBackbone(), "googlenet", {"channels": 4}, "rescales each of its three colors"),
    ],
)  # fmt: skip
def test_what_a_network_is_not_built_for_is_refused(
    backbone: Backbone, architecture: str, wanted: dict[str, Any], why: str
) -> None:
    with pytest.raises(Unsupported, match=why), torch.device("meta"):
        backbone.build(architecture, BuildOptions(**wanted))


@pytest.mark.parametrize(
    ("backbone", "architecture", "size"),
    [
        (TimmBackbone(), "test_resnet", 64),
        (TimmBackbone(), "test_vit", 160),
        (TorchvisionBackbone(), "squeezenet1_1", 64),
    ],
)
@torch.no_grad()
def test_channels(backbone: Backbone, architecture: str, size: int) -> None:
    """A gray image, and the same three channels again, give what they gave in color."""
    torch.manual_seed(0)
    whole = backbone.build(architecture).eval()
    gray = torch.randn(1, 1, size, size)
    expected = whole(gray.expand(1, 3, size, size))
    for channels in (1, 6):
        module = backbone.build(architecture, BuildOptions(channels=channels)).eval()
        module.load_state_dict(dict(backbone.fit_weights(module, whole.state_dict())))
        given = module(gray.expand(1, channels, size, size))
        assert torch.allclose(given, expected, atol=1e-5), channels
        how = backbone.preprocessing(module)
        assert how.input_size[0] == len(how.mean) == len(how.std) == channels


def test_channels_of_weights_for_others_are_refused() -> None:
    module = nn.Conv2d(5, 8, 3)
    given = {"weight": torch.zeros(8, 4, 3, 3)}
    with pytest.raises(Unsupported, match=re.escape("'weight' is for 4 channels: only weights")):
        adapt_channels(module, given)
