"""Outputs of modules for a batch of any size, from those for two images and for three.

An output is either the same whatever the images are, or only its shape matters: `Hollow`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

__all__ = ["CallOutputs", "Hollow", "extrapolated", "filled"]

CallOutputs = list[list[object]]
"""For each module the outputs of its calls, in order; tensors in them may be `Hollow`."""


@dataclass(frozen=True, slots=True)
class Hollow:
    """In the place of a tensor of that shape whose values do not matter, with the dtype and device
    of ``like``.
    """

    like: Tensor
    shape: tuple[int, ...]

    def tensor(self) -> Tensor:
        """Zeros that are one zero in memory."""
        return self.like.new_zeros(()).expand(self.shape)


def filled(outputs: CallOutputs) -> CallOutputs:
    """The same with tensors in the place of hollow ones."""
    return tree_map_only(Hollow, Hollow.tensor, outputs)  # type: ignore[no-any-return]


def extrapolated(two: CallOutputs, three: CallOutputs, count: int) -> CallOutputs | None:
    """The outputs for ``count`` images.

    None if those for two and three do not determine them: if anything but shapes differs, or a size
    is neither the same nor in proportion to the number of images, as where they are padded to a
    multiple.
    """
    leaves, form = tree_flatten(two)
    others, other_form = tree_flatten(three)
    if form != other_form:
        return None
    larger = [_leaf(one, other, count) for one, other in zip(leaves, others, strict=True)]
    return None if any(leaf is _UNKNOWN for leaf in larger) else tree_unflatten(larger, form)


_UNKNOWN = object()


def _leaf(two: object, three: object, count: int) -> object:
    """What is the same for two images and three; of a shape, each size as it is, or as many for
    each image. The latter is one at least.
    """
    if isinstance(two, Hollow) and isinstance(three, Hollow):
        if len(two.shape) != len(three.shape) or two.shape == three.shape:
            return _UNKNOWN
        pairs = list(zip(two.shape, three.shape, strict=True))
        # In proportion: as many for each of three images as for each of two.
        if any(a != b and 3 * a != 2 * b for a, b in pairs):
            return _UNKNOWN
        return Hollow(two.like, tuple(a if a == b else a // 2 * count for a, b in pairs))
    if type(two) is not type(three):
        return _UNKNOWN
    if isinstance(two, Tensor) and isinstance(three, Tensor):
        return two if two.dtype == three.dtype and torch.equal(two, three) else _UNKNOWN
    return two if two == three else _UNKNOWN
