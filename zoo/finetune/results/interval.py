"""How far to trust a figure: the 95 % interval that the number of test images allows.

A share has Wilson's score interval, which is right for small counts and for shares near 0 and 1.
For figures without a formula, images are drawn again, with replacement, and the figure is taken
anew, a thousand times; the interval leaves out a fortieth of the results at each end (the
percentile bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap
from torch import Tensor

from zoo.domain.task import Task

__all__ = ["interval", "mean_average_precisions", "r2s"]

Array = NDArray[np.float64]

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
        correct = int((outputs.argmax(dim=1) == targets).sum())
        low, high = binomtest(correct, len(targets)).proportion_ci(method="wilson")
        return float(low), float(high)
    figures = mean_average_precisions if task == "multi-label" else r2s
    return _bootstrap(figures, outputs.double().numpy(), targets.double().numpy())


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
        # No threshold separates images of equal score.
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
    centered = targets - targets.mean(axis=0)  # else the difference of two large numbers is left
    means = times @ centered / times.sum(axis=1, keepdims=True)
    spread = times @ np.square(centered).sum(axis=1)
    spread -= times.sum(axis=1) * np.square(means).sum(axis=1)
    varies = spread > 1e-12
    return np.where(varies, 1 - error / np.where(varies, spread, 1.0), 0.0)


def _bootstrap(
    figures: Callable[[Array, Array, Array], Array], outputs: Array, targets: Array
) -> tuple[float, float]:
    count = len(outputs)
    if count == 1:  # of which nothing else can be drawn, and scipy draws nothing
        only = float(figures(outputs, targets, np.ones((1, 1)))[0])
        return only, only

    def drawn(images: Array, axis: int) -> Array:  # noqa: ARG001 - as scipy calls it
        # How often each image is there says as much as a copy of each, and is 30 times as quick.
        times = [np.bincount(row, minlength=count) for row in images]
        return figures(outputs, targets, np.array(times, np.float64))

    low, high = bootstrap(
        (np.arange(count),),
        drawn,
        vectorized=True,
        n_resamples=DRAWS,
        random_state=SEED,
        batch=max(NUMBERS // count, 1),
        method="percentile",
    ).confidence_interval
    return float(low), float(high)
