"""Explain: which part of an image speaks for a class.

Of a network that ends in a map (convolutional ones, Swin, ConvNeXt): Grad-CAM (Selvaraju et al.
2017, https://arxiv.org/abs/1610.02391) at the deepest unit that gives one. Features times the
gradient of the class are summed at each place. The gradient is each place's own, as in HiResCAM
(Draelos and Carin 2020, https://arxiv.org/abs/2011.08891): where the mean over places and a linear
layer follow, that is the same but for a factor; where they do not, as in VGG, it is right.

Of one that ends in tokens (ViT): deep tokens need not tell of the places that they are called
after, as attention moves what is known of one to others. So integrated gradients (Sundararajan et
al. 2017, https://arxiv.org/abs/1703.01365) are taken of what the first unit gives, on the way from
the mean of all places to each place's own features: how much the image's being so there, and not as
elsewhere, adds to the class.

What is positive speaks for the class. A place that the class does not depend on gets no heat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isqrt, prod

import torch
from torch import Tensor, nn

from zoo.backbones.pooling import feature_dimension, the_tensor
from zoo.backbones.predict import refused
from zoo.backbones.record import eval_mode
from zoo.backbones.taps import REFUSALS
from zoo.domain.hierarchy import Hierarchy, Unit
from zoo.errors import Unsupported

__all__ = ["Heats", "heats"]

TRIES = 4
"""So many of the deepest units with a map are tried: each costs a run of the network."""
STEPS = 8
"""Points of the way at which gradients are taken."""
PREFIX = 16
"""Tokens before the grid (class and registers), at most."""


@dataclass(frozen=True, slots=True)
class Heats:
    """How much each place speaks for each of some classes: ``maps`` (K, h, w), at least 0, as the
    unit called ``unit`` has places.
    """

    maps: Tensor
    unit: str


def heats(model: nn.Module, hierarchy: Hierarchy, image: Tensor, outputs: Sequence[int]) -> Heats:
    """How much each place of an ``image`` (C, H, W) speaks for each of some outputs.

    Raises:
        Unsupported: The network has no unit that gives a map and that its outputs depend on, or it
            does not take such an image.
    """
    there = [unit for unit in hierarchy.units if _has_places(unit)]
    tokens = bool(there) and len(there[-1].shape or ()) == 3
    tried = there[:1] if tokens else there[::-1][:TRIES]
    take = _integrated if tokens else _at_once
    for unit in tried:
        try:
            maps = take(model, unit, image, outputs)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except REFUSALS as error:
            raise refused(image.shape, error) from error
        if maps is not None:
            return Heats(maps.float().clamp(min=0), unit.name)
    raise Unsupported(
        f"{hierarchy.architecture} has no unit that gives a map of the image which its outputs "
        "depend on: nothing tells which part of it mattered"
    )


def _has_places(unit: Unit) -> bool:
    shape = unit.shape
    dimension = feature_dimension(shape, None, shape) if shape and len(shape) in (3, 4) else None
    return bool(shape and dimension and prod(shape) // shape[dimension] > 1)


def _at_once(model: nn.Module, unit: Unit, image: Tensor, outputs: Sequence[int]) -> Tensor | None:
    """Features times gradient at a unit, summed at each place (K, h, w); None if it has none."""
    leaves: list[Tensor] = []

    def enter(features: Tensor) -> Tensor:
        leaves.append(features.detach().requires_grad_())
        return leaves[-1]

    with _changed(model, unit, enter):
        logits = model(image.unsqueeze(0))[0]
        if len(leaves) != 1:  # no tensor, or several for one image
            return None
        gradients = _gradients(logits, leaves[0], outputs)
    return _sums(leaves[0].detach() * gradients, unit, image) if gradients.any() else None


def _integrated(
    model: nn.Module, unit: Unit, image: Tensor, outputs: Sequence[int]
) -> Tensor | None:
    """Integrated gradients of what a unit gives, summed at each place (K, h, w); None if it has
    none, or no place matters.
    """
    given: list[Tensor] = []

    def see(features: Tensor) -> Tensor:
        given.append(features.detach())
        return features

    with _changed(model, unit, see):
        model(image.unsqueeze(0))
    base = _even(given[0], unit, image) if len(given) == 1 else None
    if base is None:
        return None
    gradients = torch.zeros_like(base)
    for step in range(STEPS):
        share = (step + 0.5) / STEPS
        leaf = torch.lerp(base, given[0], share).requires_grad_()
        with _changed(model, unit, lambda _, leaf=leaf: leaf):  # type: ignore[misc]
            gradients = gradients + _gradients(model(image.unsqueeze(0))[0], leaf, outputs) / STEPS
    return _sums((given[0] - base) * gradients, unit, image) if gradients.any() else None


@contextmanager
def _changed(model: nn.Module, unit: Unit, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within, ``change`` makes another tensor of what a unit gives, where that is one. The graph
    begins there: what lies before needs no memory but for its run.
    """

    def enter(_: nn.Module, __: object, output: object) -> Tensor | None:
        if the_tensor(output) is None or not isinstance(output, Tensor):
            return None
        return change(output).clone()  # what follows may write into it

    asking = [each for each in model.parameters() if each.requires_grad]
    hooked = model.get_submodule(unit.modules[-1]).register_forward_hook(enter)
    try:
        for each in asking:
            each.requires_grad_(False)
        with torch.enable_grad(), eval_mode(model):
            yield
    finally:
        hooked.remove()
        for each in asking:
            each.requires_grad_()


def _gradients(logits: Tensor, leaf: Tensor, outputs: Sequence[int]) -> Tensor:
    """Those of some outputs (K, …); all 0 where none depends on the leaf (1, …)."""
    if not logits.requires_grad:
        return torch.zeros_like(leaf).expand(len(outputs), *leaf.shape[1:])
    return torch.cat(
        [torch.autograd.grad(logits[index], leaf, retain_graph=True)[0] for index in outputs]
    )


def _sums(products: Tensor, unit: Unit, image: Tensor) -> Tensor | None:
    """Sums over the features of each place: (K, h, w) of what is laid out as the unit's output;
    None if it has no grid.
    """
    dimension = feature_dimension((1, *products.shape[1:]), None, unit.shape)
    if dimension is None:
        return None
    sums = products.sum(dimension)
    if sums.dim() == 3:
        return sums
    grid = _grid(sums.shape[1], *image.shape[1:])
    return sums[:, -prod(grid) :].reshape(len(sums), *grid) if grid else None


def _even(features: Tensor, unit: Unit, image: Tensor) -> Tensor | None:
    """The mean over all places at each place; tokens before the grid as they are."""
    dimension = feature_dimension(tuple(features.shape), None, unit.shape)
    if dimension is None:
        return None
    if features.dim() == 4:
        places = [each for each in (1, 2, 3) if each != dimension]
        return features.mean(places, keepdim=True).expand_as(features)
    grid = _grid(features.shape[1], *image.shape[1:])
    if grid is None:
        return None
    before, within = features[:, : -prod(grid)], features[:, -prod(grid) :]
    return torch.cat([before, within.mean(1, keepdim=True).expand_as(within)], 1)


def _grid(tokens: int, height: int, width: int) -> tuple[int, int] | None:
    """Rows and columns of the largest grid with the image's proportions that leaves few tokens."""
    for rows in range(isqrt(tokens * height // width), 0, -1):
        columns, rest = divmod(rows * width, height)
        if not rest and 0 <= tokens - rows * columns <= PREFIX:
            return rows, columns
    return None
