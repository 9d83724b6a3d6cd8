"""The cosine head: outputs are cosines between features and one direction for each output.

Length says nothing here, so a class with many images cannot outweigh one with few by growing its
weights. (Source: Gidaris and Komodakis, "Dynamic Few-Shot Visual Learning without Forgetting",
CVPR 2018, section 3.2.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.backbones.heads.tasks import TaskHead

__all__ = ["CosineHead"]

SCALE = 10.0


class CosineHead(TaskHead):
    """Implements `zoo.contracts.Head`."""

    def build(self, num_features: int, num_outputs: int) -> nn.Module:
        """A module from ``(N, num_features)`` to ``(N, num_outputs)``."""
        return Cosine(num_features, num_outputs)


class Cosine(nn.Module):
    """``scale * cos(features, weight) + bias``; both are learned, and ``weight`` is (K, F)."""

    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_outputs, num_features))
        self.scale = nn.Parameter(torch.tensor(SCALE))
        # For labels by themselves and for numbers, which need not average to nothing.
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        nn.init.normal_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        """From features (N, F) to outputs (N, K)."""
        cosines = nn.functional.linear(
            nn.functional.normalize(features, dim=-1), nn.functional.normalize(self.weight, dim=-1)
        )
        return self.scale * cosines + self.bias
