"""The linear classifier: one fully connected layer, softmax loss."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["LinearHead"]


class LinearHead:
    """Implements `zoo.contracts.Head`."""

    def build(self, num_features: int, num_classes: int) -> nn.Linear:
        """A layer from ``(N, num_features)`` to ``(N, num_classes)`` that starts near zero.

        Small weights and no bias make the first loss the logarithm of the number of classes, and
        the first gradients into a pretrained backbone small.
        """
        layer = nn.Linear(num_features, num_classes)
        nn.init.trunc_normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
        return layer

    def loss(self) -> nn.CrossEntropyLoss:
        """Cross entropy of logits ``(N, num_classes)`` against class indices ``(N,)``, the mean."""
        return nn.CrossEntropyLoss()

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """``accuracy`` on a 0..1 scale and ``loss`` in nats, over the whole split."""
        correct = (outputs.argmax(dim=1) == targets).sum().item()
        loss = nn.functional.cross_entropy(outputs.double(), targets).item()
        return {"accuracy": correct / len(targets), "loss": loss}
