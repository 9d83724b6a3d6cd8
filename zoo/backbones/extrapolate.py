"""What modules give for a batch of any size, from what they give for two images and for three.

An output is either the same whatever the images are, or only its shape matters (`hollow`). Shapes
grow by the same number with each image: by one in ``(N, C, H, W)``, by the number of windows where
those of all images make one dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

__all__ = ["Given", "extrapolated", "hollow"]

Given = list[list[Any]]
"""For each module the outputs of its calls, in order."""


def hollow(like: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor of ``shape`` that has no memory of its own."""
    return like.new_zeros(()).expand(tuple(shape))


def extrapolated(two: Given, three: Given, count: int) -> Given | None:
    """The outputs for ``count`` images; None if those for two and three do not tell."""
    try:
        return [
            [_output(one, other, count) for one, other in zip(*calls, strict=True)]
            for calls in zip(two, three, strict=True)
        ]
    except ValueError:
        return None


def _output(two: Any, three: Any, count: int) -> Any:
    leaves, form = tree_flatten(two)
    others, other_form = tree_flatten(three)
    if form != other_form:
        raise ValueError(form)
    return tree_unflatten(
        [_leaf(one, other, count) for one, other in zip(leaves, others, strict=True)], form
    )


def _leaf(two: Any, three: Any, count: int) -> Any:
    if not isinstance(two, Tensor) or not isinstance(three, Tensor):
        if type(two) is type(three) and two == three:
            return two
        raise ValueError(two)
    if two.dim() != three.dim() or _is_hollow(two) != _is_hollow(three):
        raise ValueError(two.shape)
    if _is_hollow(two):
        sizes = zip(two.shape, three.shape, strict=True)
        return hollow(two, [a + (count - 2) * (b - a) for a, b in sizes])
    if torch.equal(two, three):
        return two
    row = two[:1]  # of a token, say, that is repeated for each image
    if two.shape[0] == 2 and all(torch.equal(t, row.expand_as(t)) for t in (two, three)):
        return row.expand(count, *row.shape[1:]).contiguous()
    raise ValueError(two.shape)


def _is_hollow(tensor: Tensor) -> bool:
    return tensor.dim() > 0 and not any(tensor.stride())
