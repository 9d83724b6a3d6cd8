"""Other image sizes and channels than an architecture's own.

Two families are built for one image size: vision transformers, whose position embeddings
torchvision interpolates, and MaxViT, whose windows must divide the image. All others take any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models.vision_transformer import interpolate_embeddings

from zoo.backbones.adapt import adapt_channels, misfits
from zoo.errors import Unsupported
from zoo_torchvision.networks import Network

__all__ = ["fit_weights", "replaced_input", "set_channels", "sized"]

COLORS = 3
EMBEDDING = "encoder.pos_embedding"


def sized(network: Network, image_size: tuple[int, int] | None) -> Network:
    """``network`` with what its builder must be told for a size that is not its own."""
    native = tuple(network.weights[0].meta["min_size"])
    if not image_size or image_size == native:
        return network
    height, width = image_size
    if network.builder.startswith("vit_"):
        options: dict[str, object] = {"image_size": height}
    elif network.builder.startswith("maxvit"):
        options = {"input_size": image_size}  # of others, torchvision mixes up the sides
    else:
        return network
    if height != width:
        raise Unsupported(f"{network.name} takes square images only, not {height} x {width} pixels")
    return replace(network, options={**network.options, **options})


def set_channels(module: nn.Module, channels: int) -> None:
    """Let ``module`` take images of so many channels."""
    path = _input_layer(module)
    old = cast(nn.Conv2d, module.get_submodule(path))
    if channels == old.in_channels:
        return
    if getattr(module, "transform_input", False):
        raise Unsupported(
            f"{type(module).__name__} rescales each of its three colors: it takes no {channels} "
            "channels"
        )
    _, _, *rest = _conv_arguments(old)
    module.set_submodule(path, nn.Conv2d(channels, old.out_channels, *rest))


def fit_weights(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` fitted to ``module``: channels, and position embeddings as torchvision does it."""
    fitted = adapt_channels(module, state)
    if isinstance(module, VisionTransformer) and EMBEDDING in misfits(module, fitted):
        one = {EMBEDDING: fitted[EMBEDDING]}
        fitted |= interpolate_embeddings(module.image_size, module.patch_size, one)
    return fitted


def replaced_input(module: nn.Module) -> dict[str, tuple[object, ...]]:
    """The input layer as a row of ``replaced``, if it is not torchvision's own."""
    path = _input_layer(module)
    conv = cast(nn.Conv2d, module.get_submodule(path))
    return {} if conv.in_channels == COLORS else {path: ("Conv2d", *_conv_arguments(conv))}


def _input_layer(module: nn.Module) -> str:
    """Path of the convolution that images enter: in torchvision's networks it is the first."""
    return next(str(path) for path, child in module.named_modules() if isinstance(child, nn.Conv2d))


def _conv_arguments(conv: nn.Conv2d) -> tuple[Any, ...]:
    """The positional arguments that make such a layer."""
    fields = "in_channels out_channels kernel_size stride padding dilation groups"
    return (*(getattr(conv, name) for name in fields.split()), conv.bias is not None)
