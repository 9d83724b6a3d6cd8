"""A head for networks that have none: it pools their features over all positions first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from zoo.errors import Unsupported

__all__ = ["POOLED_HEAD", "PooledHead", "add_pooled_head"]

POOLED_HEAD = "zoo_head"
"""Path of the head in the network."""


class PooledHead(nn.Module):
    """Averages features over all positions and applies a head.

    Args:
        num_features: Size of the dimension that holds features.
        head: From ``(N, num_features)`` to outputs.
        dimension: Which one that is; None: the second of four, or else the last, whichever has
            that size.
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
            positions = [d for d in range(1, features.dim()) if d != self.dimension]
            features = features.mean(dim=positions) if positions else features
        elif features.dim() == 4 and features.shape[1] == self.num_features:
            features = features.mean(dim=(2, 3))
        elif features.dim() >= 2 and features.shape[-1] == self.num_features:
            features = features.flatten(1, -2).mean(dim=1) if features.dim() > 2 else features
        else:
            raise Unsupported(
                f"features of shape {tuple(features.shape)} hold no dimension of "
                f"{self.num_features} to pool to"
            )
        outputs: Tensor = self.head(features)
        return outputs


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


def _classify(module: nn.Module, _: Any, features: Any) -> Any:
    return getattr(module, POOLED_HEAD)(features)
