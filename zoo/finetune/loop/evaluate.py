"""Figures for a split."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from zoo.contracts import Head
from zoo.domain.task import Task

__all__ = ["measure"]


def measure(head: Head, task: Task, said: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """The head's metrics over all batches together.

    Args:
        head: Knows its metrics.
        task: What the targets mean.
        said: Outputs (N, K) and targets of each batch.
    """
    outputs, targets = (torch.cat(parts) for parts in zip(*said, strict=True))
    return head.metrics(outputs, targets, task)
