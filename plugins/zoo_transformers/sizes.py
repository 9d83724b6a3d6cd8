"""Other image sizes and channels than an architecture's own.

Transformers with a position embedding for each place are built for one size, and weights for
another are resized as transformers itself does it when it is asked to on the way. All other
networks take images of any size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo.backbones.adapt import adapt_channels, misfits
from zoo.errors import Unsupported
from zoo_transformers.architectures import Architecture

__all__ = ["adapt", "check", "grid"]

POSITIONS = ("position_embeddings", "position_embedding.weight")
"""What embeddings of positions are called: (1, places, features), or (places, features)."""


def check(architecture: Architecture, height: int, width: int) -> None:
    """Whether the network can be built for that size.

    Raises:
        Unsupported: It cannot.
    """
    if architecture.family.vision_tower and height != width:
        raise Unsupported(f"{architecture.name} takes square images only")
    window = architecture.config.get("window_size", 0)
    # Four pixels are one place, and each stage but the last halves both sides.
    patch = 4 << (len(architecture.config.get("depths", ())) - 1) if window else 1
    if math.ceil(min(height, width) / patch) < window:
        raise Unsupported(
            f"{architecture.name} takes images of {patch * (window - 1) + 1} pixels or more: its "
            "windows have no place in smaller ones"
        )


def adapt(
    module: nn.Module, state: Mapping[str, Tensor], size: tuple[int, int]
) -> dict[str, Tensor]:
    """``state`` fitted to ``module``, which takes images of ``size``: channels and positions.

    Raises:
        Unsupported: The weights are not for three channels, or not for square images.
    """
    fitted = adapt_channels(module, state)
    for name, shape in misfits(module, fitted).items():
        if name.endswith(POSITIONS) and fitted[name].shape[-1] == shape[-1]:
            fitted[name] = _resized(fitted[name], shape, grid(module, size))
    return fitted


def grid(module: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    """How many patches an image of ``size`` has, in height and width."""
    config = cast(Any, module).config
    patch = getattr(config, "vision_config", config).patch_size
    return size[0] // patch, size[1] // patch


def _resized(positions: Tensor, shape: tuple[int, ...], places: tuple[int, int]) -> Tensor:
    """Bicubic, in height and width; tokens before the first place stay as they are."""
    tokens = shape[-2] - places[0] * places[1]
    old = positions.reshape(1, -1, shape[-1])
    side = math.isqrt(old.shape[1] - tokens)
    if side * side != old.shape[1] - tokens:
        raise Unsupported(
            f"{old.shape[1]} positions are not those of a square image, and cannot be resized"
        )
    square = old[:, tokens:].reshape(1, side, side, -1).permute(0, 3, 1, 2).float()
    new = nn.functional.interpolate(square, size=places, mode="bicubic", align_corners=False)
    new = new.flatten(2).transpose(1, 2).to(positions.dtype)
    return torch.cat([old[:, :tokens], new], dim=1).reshape(shape)
