"""The MLP head: one hidden layer between features and outputs."""

from __future__ import annotations

from torch import nn

from zoo.backbones.heads.linear import near_zero
from zoo.backbones.heads.tasks import TaskHead

__all__ = ["MlpHead"]

HIDDEN = 512
"""Most hidden units; more would outweigh a small backbone."""


class MlpHead(TaskHead):
    """Implements `zoo.contracts.Head`: norm, hidden layer, GELU, output layer."""

    def build(self, num_features: int, num_outputs: int) -> nn.Sequential:
        """Layers from ``(N, num_features)`` to ``(N, num_outputs)``."""
        hidden = min(num_features, HIDDEN)
        return nn.Sequential(
            nn.LayerNorm(num_features),  # features of different networks differ in scale by far
            nn.Linear(num_features, hidden),
            nn.GELU(),
            near_zero(nn.Linear(hidden, num_outputs)),
        )
