"""Goodness: how well each image is told; the mean is the score of all."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.domain.task import Task

__all__ = ["goodness"]


def goodness(outputs: Tensor, targets: Tensor, task: Task) -> Tensor:
    """The score of each image (N,); the mean is the score of all.

    Whether the class is right; the F1 of its labels, 1 where there are none and none are given; for
    numbers 1 less the squared error as a share of their variance, so that the mean is R2.
    """
    if task == "classification":
        return (outputs.argmax(dim=1) == targets).float()
    if task == "multi-label":
        predicted, true = outputs > 0, targets > 0.5
        amount = (predicted.sum(dim=1) + true.sum(dim=1)).float()
        both = 2.0 * (predicted & true).sum(dim=1)
        return torch.where(amount > 0, both / amount.clamp(min=1), torch.ones_like(both))
    spread = (targets - targets.mean(dim=0)).square().sum(dim=1).mean()
    error = (outputs - targets).square().sum(dim=1)
    return 1 - error / spread.clamp(min=torch.finfo(spread.dtype).tiny)
