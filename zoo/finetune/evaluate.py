"""Figures for a split, and how far to trust them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from zoo.contracts import Head
from zoo.domain.task import Task

__all__ = ["SCORE", "measure", "wilson"]

SCORE: dict[Task, str] = {
    "classification": "accuracy",
    "multi-label": "mean_average_precision",
    "regression": "r2",
}
"""The figure by which the better of two results is told; more is better."""

Z_95 = 1.959963984540054


def measure(head: Head, task: Task, said: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """The head's metrics over all batches together; for classes, with the interval of `wilson`.

    Args:
        head: Knows its metrics.
        task: What the targets mean.
        said: Outputs (N, K) and targets of each batch.
    """
    outputs, targets = (torch.cat(parts) for parts in zip(*said, strict=True))
    found = head.metrics(outputs, targets, task)
    if task == "classification":
        found["accuracy_low"], found["accuracy_high"] = wilson(found["accuracy"], len(targets))
    return found


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % score interval of a share of ``count`` (Wilson, JASA 22, 1927).

    Unlike the textbook interval it is right for small counts and for shares near 0 and 1.
    """
    square = Z_95 * Z_95 / count
    middle = (share + square / 2) / (1 + square)
    spread = Z_95 / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return max(middle - spread, 0.0), min(middle + spread, 1.0)
