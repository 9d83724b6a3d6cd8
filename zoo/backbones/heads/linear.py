"""The linear head: one fully connected layer."""

from __future__ import annotations

from torch import nn

from zoo.backbones.heads.tasks import TaskHead

__all__ = ["LinearHead", "near_zero"]


class LinearHead(TaskHead):
    """Implements `zoo.contracts.Head`."""

    def build(self, num_features: int, num_outputs: int) -> nn.Linear:
        """A layer from ``(N, num_features)`` to ``(N, num_outputs)`` that starts near zero."""
        return near_zero(nn.Linear(num_features, num_outputs))


def near_zero(layer: nn.Linear) -> nn.Linear:
    """The layer with small weights and no bias.

    That makes the first loss of a classifier the logarithm of the number of classes, and the first
    gradients into a pretrained backbone small.
    """
    nn.init.trunc_normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer
