"""Pool the output of a part of a network: one vector of features an image, whatever the layout; and
a head that pools first, for networks that have none.

Convolutional networks give (N, F, H, W), some transformers (N, H, W, F), others tokens
(N, positions, F). Positions grow with the image, features do not: that distinguishes them where
shapes at one size would not, as of 96 features at 96 x 96 positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn

from zoo.backbones.record import tensors_in
from zoo.errors import Unsupported

__all__ = [
    "POOLED_HEAD",
    "PooledHead",
    "Shape",
    "add_pooled_head",
    "averaged",
    "feature_dimension",
    "pool",
    "the_tensor",
]

POOLED_HEAD = "zoo_head"
"""Path of the head in the network."""

Shape = tuple[int, ...]


def feature_dimension(shape: Shape, larger: Shape | None, native: Shape | None) -> int | None:
    """Which dimension of the ``shape`` of an output for one image holds features; None if that is
    not clear. ``larger`` is its shape for an image of twice the height and width, None where the
    network refuses such; ``native`` that for the size that the network is made for, mostly a
    square.
    """
    if len(shape) < 2 or shape[0] != 1:  # windows of one image, say, as if they were images
        return None
    if len(shape) == 2:
        return 1
    if larger is not None and len(larger) == len(shape) and larger != shape:
        # A size of 1 may be one feature or one position: it tells nothing.
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
    return averaged(features.float(), dimension)


def averaged(features: Tensor, dimension: int) -> Tensor:
    """As `pool`, in the precision that ``features`` have."""
    positions = [d for d in range(1, features.dim()) if d != dimension]
    return features.mean(dim=positions) if positions else features


def the_tensor(output: object) -> Tensor | None:
    """The tensor that a module gives, alone or beside what is no feature, such as the size or the
    coordinates of its positions; None if there are several, or none.
    """
    floats = [tensor for tensor in tensors_in(output) if tensor.is_floating_point()]
    return floats[0] if len(floats) == 1 else None


def _beside_a_square(shape: Shape) -> int | None:
    """The odd one of three dimensions: positions of a square are as many in both directions."""
    if len(shape) != 4 or len(set(shape[1:])) != 2:
        return None
    return {(True, False): 3, (False, True): 1}.get((shape[1] == shape[2], shape[2] == shape[3]))


class PooledHead(nn.Module):
    """Averages features over all positions and applies ``head``, from ``(N, num_features)`` to
    outputs.

    ``dimension`` of the input holds features; None: the second of four, or else the last, whichever
    has that size.
    """

    def __init__(self, num_features: int, head: nn.Module, dimension: int | None = None) -> None:
        super().__init__()
        self.num_features = num_features
        self.head = head
        self.dimension = dimension

    def forward(self, features: Tensor) -> Tensor:
        """Outputs for features (N, F), (N, positions, F), (N, H, W, F) or (N, F, H, W).

        Raises:
            Unsupported: No dimension has the size of the features.
        """
        if self.dimension is not None:
            features = averaged(features, self.dimension)
        elif features.dim() == 4 and features.shape[1] == self.num_features:
            features = features.mean(dim=(2, 3))
        elif features.dim() >= 2 and features.shape[-1] == self.num_features:
            features = features.flatten(1, -2).mean(dim=1) if features.dim() > 2 else features
        else:
            raise Unsupported(
                f"features of shape {tuple(features.shape)} hold no dimension of "
                f"{self.num_features} to pool to"
            )
        return cast(Tensor, self.head(features))


def add_pooled_head(
    module: nn.Module,
    num_features: int,
    build: Callable[[int], nn.Module],
    dimension: int | None = None,
) -> None:
    """Let ``module`` return what ``build(num_features)`` makes of its pooled features.

    All names stay as they are; the head's are below ``zoo_head``. A head that was added before is
    replaced. ``dimension`` is as in `PooledHead`.
    """
    added = hasattr(module, POOLED_HEAD)
    module.add_module(POOLED_HEAD, PooledHead(num_features, build(num_features), dimension))
    if not added:
        # A function of the module level: it is copied with the module, and refers to no other one.
        module.register_forward_hook(_classify)


def _classify(module: nn.Module, _: object, features: Tensor) -> Tensor:
    return cast(Tensor, getattr(module, POOLED_HEAD)(features))
