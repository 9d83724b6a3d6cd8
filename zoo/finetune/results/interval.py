"""How far to trust a figure: the 95 % interval that the number of test images allows.

Shares have a formula. For figures without one, images are drawn again, with replacement, and the
figure is taken anew, a thousand times; the interval leaves out a fortieth of the results at each
end (the percentile bootstrap: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
chapter 13).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from zoo.domain.task import Task

__all__ = ["interval", "mean_average_precisions", "r2s", "wilson"]

Array = NDArray[np.float64]

Z_95 = 1.959963984540054
DRAWS = 1000
SEED = 0
"""The interval of the same outputs is the same each time."""
NUMBERS = 1 << 23
"""Most that are held of one kind at a time: images by draws."""


def interval(task: Task, outputs: Tensor, targets: Tensor) -> tuple[float, float]:
    """The interval of the task's `zoo.domain.task.SCORE`.

    Args:
        task: What the targets mean.
        outputs: (N, K).
        targets: As `zoo.backbones.heads.tasks.loss` has them, N of them.
    """
    if task == "classification":
        correct = (outputs.argmax(dim=1) == targets).double().mean().item()
        return wilson(correct, len(targets))
    figures = mean_average_precisions if task == "multi-label" else r2s
    return _bootstrap(figures, outputs.double().numpy(), targets.double().numpy())


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % score interval of a share of ``count`` (Wilson, JASA 22, 1927).

    Unlike the textbook interval it is right for small counts and for shares near 0 and 1.
    """
    square = Z_95 * Z_95 / count
    middle = (share + square / 2) / (1 + square)
    spread = Z_95 / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return max(middle - spread, 0.0), min(middle + spread, 1.0)


def mean_average_precisions(outputs: Array, targets: Array, times: Array) -> Array:
    """`mean_average_precision` of the images, each of them there several times.

    Args:
        outputs: (N, K).
        targets: (N, K), labels in 0..1.
        times: (B, N), how often each image is there.

    Returns:
        (B,), each over the labels that occur in that draw.
    """
    total, labels = np.zeros(len(times)), np.zeros(len(times))
    for scores, present in zip(outputs.T, targets.T > 0.5, strict=True):
        order = np.argsort(-scores, kind="stable")
        # What has one score is told apart by no threshold.
        last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
        seen = np.cumsum(times[:, order], axis=1)[:, last]
        hits = np.cumsum(times[:, order] * present[order], axis=1)[:, last]
        gained = np.diff(hits, axis=1, prepend=0.0)
        occurs = hits[:, -1] > 0
        precision = (gained * hits / np.maximum(seen, 1)).sum(axis=1)
        total += np.divide(precision, hits[:, -1], out=np.zeros_like(total), where=occurs)
        labels += occurs
    return total / np.maximum(labels, 1)


def r2s(outputs: Array, targets: Array, times: Array) -> Array:
    """`r2` of the images, each there several times; arguments as for `mean_average_precisions`."""
    error = times @ np.square(outputs - targets).sum(axis=1)
    centred = targets - targets.mean(axis=0)  # else the difference of two large numbers is left
    means = times @ centred / times.sum(axis=1, keepdims=True)
    spread = times @ np.square(centred).sum(axis=1)
    spread -= times.sum(axis=1) * np.square(means).sum(axis=1)
    varies = spread > 1e-12
    return np.where(varies, 1 - error / np.where(varies, spread, 1.0), 0.0)


def _bootstrap(
    figures: Callable[[Array, Array, Array], Array], outputs: Array, targets: Array
) -> tuple[float, float]:
    count = len(outputs)
    draw = np.random.default_rng(SEED)
    found: list[Array] = []
    step = max(NUMBERS // count, 1)
    for begun in range(0, DRAWS, step):
        size = min(step, DRAWS - begun)
        times = draw.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)
        found.append(figures(outputs, targets, times))
    low, high = np.quantile(np.concatenate(found), (0.025, 0.975))
    return float(low), float(high)
