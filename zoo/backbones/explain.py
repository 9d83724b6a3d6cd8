"""Explain: which part of an image speaks for a class.

Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391) at the deepest unit that gives a
map: features times the gradient of the class, summed at each place; what is positive speaks for it.
Of maps, the gradient is each place's own, as in HiResCAM (Draelos and Carin 2020,
https://arxiv.org/abs/2011.08891): where the mean over places and one linear layer follow, as in
most convolutional networks, Swin and ConvNeXt, that is the same but for a factor, and where they do
not, as in VGG, it is right. Of tokens, whose own gradients are mostly noise of the attention, it is
the mean over places, as in Grad-CAM. A place that the class does not depend on gets no heat.

Tokens are places, but for those before the grid (class and registers). Of a network that reads its
class token alone, the last unit's places have no gradient: its attention is what has read them, and
the unit before it is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt, prod
from typing import cast

import torch
from torch import Tensor, nn

from zoo.backbones.load import Card
from zoo.backbones.pooling import feature_dimension, the_tensor
from zoo.backbones.predict import refused
from zoo.backbones.record import eval_mode
from zoo.backbones.surgery import backbone_of
from zoo.backbones.taps import REFUSALS
from zoo.domain.hierarchy import Hierarchy, Unit
from zoo.errors import Unsupported

__all__ = ["Heats", "heats", "hierarchy_of"]

TRIES = 4
"""So many of the deepest units with a map are tried: each costs a run of the network."""
PREFIX = 16
"""Tokens before the grid, at most."""


@dataclass(frozen=True, slots=True)
class Heats:
    """How much each place speaks for each of some classes: ``maps`` (K, h, w), at least 0, as the
    unit called ``unit`` has places.
    """

    maps: Tensor
    unit: str


def hierarchy_of(model: nn.Module) -> Hierarchy:
    """The units of a module that `zoo.backbones.load.load` returned, at its images' size.

    Raises:
        Unsupported: It cannot be traced.
    """
    manifest = cast(Card, model.zoo).manifest
    size, backbone = manifest.preprocessing.input_size, backbone_of(manifest)
    return backbone.hierarchy(manifest.backbone.architecture, model, input_size=size)


def heats(model: nn.Module, hierarchy: Hierarchy, image: Tensor, outputs: Sequence[int]) -> Heats:
    """How much each place of an ``image`` (C, H, W) speaks for each of some outputs.

    Raises:
        Unsupported: The network has no unit that gives a map and that its outputs depend on, or it
            does not take such an image.
    """
    there = [unit for unit in reversed(hierarchy.units) if _has_places(unit)]
    for unit in there[:TRIES]:
        found = _heats_at(model, unit, image, outputs)
        if found is not None:
            return Heats(found, unit.name)
    raise Unsupported(
        f"{hierarchy.architecture} has no unit that gives a map of the image which its outputs "
        "depend on: nothing tells which part of it mattered"
    )


def _has_places(unit: Unit) -> bool:
    shape = unit.shape
    dimension = feature_dimension(shape, None, shape) if shape and len(shape) > 2 else None
    return bool(shape and dimension and prod(shape) // shape[dimension] > 1)


def _heats_at(model: nn.Module, unit: Unit, image: Tensor, outputs: Sequence[int]) -> Tensor | None:
    """Those at a unit; None if no place there has a gradient."""
    leaves: list[Tensor] = []

    def enter(_: nn.Module, __: object, output: object) -> Tensor | None:
        if the_tensor(output) is None or not isinstance(output, Tensor):
            return None
        # Here the graph begins: what lies before needs no memory but for its run.
        leaves.append(output.detach().requires_grad_())
        return leaves[-1].clone()  # what follows may write into it

    asking = [each for each in model.parameters() if each.requires_grad]
    hooked = model.get_submodule(unit.modules[-1]).register_forward_hook(enter)
    try:
        for each in asking:
            each.requires_grad_(False)
        with torch.enable_grad(), eval_mode(model):
            logits: Tensor = model(image.unsqueeze(0))[0]
        if len(leaves) != 1:  # no tensor, or several for one image
            return None
        found = [_gradient(logits[index], leaves[0]) for index in outputs]
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except REFUSALS as error:
        raise refused(image.shape, error) from error
    finally:
        hooked.remove()
        for each in asking:
            each.requires_grad_()
    return _as_maps(leaves[0].detach().float(), torch.cat(found).float(), unit, image)


def _gradient(output: Tensor, leaf: Tensor) -> Tensor:
    if not output.requires_grad:  # the unit is on no way to it
        return torch.zeros_like(leaf)
    (found,) = torch.autograd.grad(output, leaf, retain_graph=True)
    return found


def _as_maps(features: Tensor, gradients: Tensor, unit: Unit, image: Tensor) -> Tensor | None:
    """Of features (1, …) and a gradient for each output (K, …), the heat at each place (K, h, w);
    None if no place has a gradient, or there is no grid.
    """
    dimension = feature_dimension(tuple(features.shape), None, unit.shape)
    if dimension is None or features.dim() not in (3, 4):
        return None
    features, gradients = (each.movedim(dimension, -1) for each in (features, gradients))
    if features.dim() == 3:
        grid = _grid(features.shape[1], *image.shape[1:])
        if grid is None:
            return None
        features, gradients = (
            each[:, -prod(grid) :].reshape(len(each), *grid, -1) for each in (features, gradients)
        )
        depends = gradients.any(-1, keepdim=True)
        gradients = gradients.mean((1, 2), keepdim=True) * depends
    return (features * gradients).sum(-1).clamp(min=0) if gradients.any() else None


def _grid(tokens: int, height: int, width: int) -> tuple[int, int] | None:
    """Rows and columns of the largest grid with the image's proportions that leaves few tokens."""
    for rows in range(isqrt(tokens * height // width), 0, -1):
        columns, rest = divmod(rows * width, height)
        if not rest and 0 <= tokens - rows * columns <= PREFIX:
            return rows, columns
    return None
