"""Pool the output of a part of a network: one vector of features an image, whatever the layout.

Convolutional networks give (N, F, H, W), some transformers (N, H, W, F), others tokens
(N, positions, F). Positions grow with the image, features do not: that distinguishes them where
shapes at one size would not, as of 96 features at 96 x 96 positions.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

__all__ = ["Shape", "feature_dimension", "pool", "the_tensor"]

Shape = tuple[int, ...]


def feature_dimension(shape: Shape, larger: Shape | None, native: Shape | None) -> int | None:
    """Which dimension of an output holds features; None if that is not clear.

    Args:
        shape: The output's for one image.
        larger: The output's for one image of twice the height and width; None where the network
            refuses such.
        native: The output's for one image of the size that the network is made for, which mostly
            is a square; None if not known.
    """
    if len(shape) < 2 or shape[0] != 1:  # windows of one image, say, as if they were images
        return None
    if len(shape) == 2:
        return 1
    if larger is not None and len(larger) == len(shape) and larger != shape:
        same = [d for d in range(1, len(shape)) if shape[d] == larger[d] > 1]
        return same[0] if len(same) == 1 else None
    if len(shape) == 3:
        return 2
    for known in (shape, native):
        if known is not None and (odd := _beside_a_square(known)) is not None:
            return odd
    return None


def pool(features: Tensor, dimension: int) -> Tensor:
    """The mean over all dimensions but the first and ``dimension``, in float32: (N, F).

    All positions count alike, class and register tokens as any other.
    """
    positions = [d for d in range(1, features.dim()) if d != dimension]
    return features.float().mean(dim=positions) if positions else features.float()


def the_tensor(output: Any) -> Tensor | None:
    """The tensor that a module gives, alone or beside what is no feature, such as the size or the
    coordinates of its positions; None if there are several, or none.
    """
    leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    floats = [leaf for leaf in leaves if leaf.is_floating_point()]
    return floats[0] if len(floats) == 1 else None


def _beside_a_square(shape: Shape) -> int | None:
    """The odd one of three dimensions: positions of a square are as many in both directions."""
    if len(shape) != 4 or len(set(shape[1:])) != 2:
        return None
    return {(True, False): 3, (False, True): 1}.get((shape[1] == shape[2], shape[2] == shape[3]))
