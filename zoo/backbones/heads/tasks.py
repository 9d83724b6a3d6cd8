"""Losses and metrics by task: they do not depend on how a head computes its outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.domain.task import Task

__all__ = ["TaskHead", "loss", "metrics"]


class TaskHead:
    """The parts of `zoo.contracts.Head` that a head with ordinary outputs need not write again.

    Outputs are logits for classes and labels, and the numbers themselves for regression.
    """

    def loss(self, task: Task = "classification") -> nn.Module:
        """See `loss`."""
        return loss(task)

    def metrics(
        self, outputs: Tensor, targets: Tensor, task: Task = "classification"
    ) -> dict[str, float]:
        """See `metrics`."""
        return metrics(outputs, targets, task)


def loss(task: Task) -> nn.Module:
    """From outputs ``(N, K)`` and targets to a mean loss, a scalar.

    Cross entropy against class indices ``(N,)`` int64; binary cross entropy of each label against
    ``(N, K)`` float32 in 0..1; the squared error against ``(N, K)`` float32.
    """
    losses: dict[Task, type[nn.Module]] = {
        "classification": nn.CrossEntropyLoss,
        "multi-label": nn.BCEWithLogitsLoss,
        "regression": nn.MSELoss,
    }
    return losses[task]()


def metrics(outputs: Tensor, targets: Tensor, task: Task) -> dict[str, float]:
    """Figures for a whole split; targets are those of `loss`.

    - classification: ``accuracy`` (0..1), ``loss`` in nats;
    - multi-label: ``accuracy``, the share of right decisions at probability 0.5; ``f1``, over all
      decisions together; ``mean_average_precision``, over the labels that occur; ``loss`` in nats;
    - regression: ``mae`` and ``rmse`` in the unit of the targets; ``r2``, the share of variance
      that is explained, 0 where there is none.
    """
    outputs = outputs.double()
    if task == "classification":
        correct = (outputs.argmax(dim=1) == targets).sum().item()
        value = nn.functional.cross_entropy(outputs, targets).item()
        return {"accuracy": correct / len(targets), "loss": value}
    targets = targets.double()
    if task == "multi-label":
        return _multi_label(outputs, targets)
    error = outputs - targets
    spread = (targets - targets.mean(dim=0)).square().sum().item()
    return {
        "mae": error.abs().mean().item(),
        "rmse": error.square().mean().sqrt().item(),
        "r2": 1 - error.square().sum().item() / spread if spread else 0.0,
    }


def _multi_label(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, f1_score

    predicted, true = outputs > 0, targets > 0.5
    occurs = true.any(dim=0)
    precision = [
        float(average_precision_score(true[:, label].numpy(), outputs[:, label].numpy()))
        for label in torch.nonzero(occurs).flatten().tolist()
    ]
    return {
        "accuracy": (predicted == true).double().mean().item(),
        "f1": float(
            f1_score(true.flatten().numpy(), predicted.flatten().numpy(), zero_division=0.0)
        ),
        "mean_average_precision": sum(precision) / len(precision) if precision else 0.0,
        "loss": nn.functional.binary_cross_entropy_with_logits(outputs, targets).item(),
    }
