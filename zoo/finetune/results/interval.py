"""How far to trust a result: intervals of figures, and warnings.

An interval is the one of 95 % that the number of test images allows.

A share has Wilson's score interval, which is right for small counts and for shares near 0 and 1;
F1 of a class and means over classes are made of such.
For figures without a formula, images are drawn again, with replacement, and the figure is taken
anew, a thousand times; the interval leaves out a fortieth of the results at each end (the
percentile bootstrap).

Images that belong together, such as crops of one photo, are alike, and tell less than as many
others. Where such groups are known, a share is that of as many images as tell as much (the design
effect of cluster samples: Kish, "Survey Sampling", 1965), and whole groups are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import binomtest, bootstrap
from torch import Tensor

from zoo.domain.task import SCORE
from zoo.domain.words import too_good
from zoo.finetune.dataset.batches import targets_of
from zoo.finetune.results.journal import Line
from zoo.finetune.setup.prepare import PreparedRun

__all__ = [
    "Array",
    "Figures",
    "MOST",
    "Matrix",
    "average_precisions",
    "blocks",
    "bootstrapped",
    "counted",
    "f1",
    "f1s",
    "independent",
    "mean_of_known",
    "mean_with_interval",
    "r2s",
    "share",
    "warning",
    "wilson",
]

Array = NDArray[np.float64]
Figures = Callable[[Array], Array]
"""From how often each image was drawn, ``times`` (B, N), to figures (F, B) of each of B draws."""
Matrix: TypeAlias = csr_array
"""Zeros and ones, most of them zeros."""

DRAWS = 1000
SEED = 0
"""The interval of the same outputs is the same each time."""
NUMBERS = 1 << 23
"""Most that are in memory of one kind at a time: images by draws."""
RISE = 2.0
"""A training loss so many times that of its first step, and of a constant answer, has diverged:
less may be the noise of batches."""
MOST = 1.0
"""Of every score: none is better."""
LEAST_SHARE = 1e-6
"""Of the images, for a label that all or none of them have: its logit stays finite."""


@cache  # many classes and confusions are of as many images
def wilson(count: int, of: int) -> tuple[float, float]:
    """The interval of the share ``count`` of ``of``."""
    low, high = binomtest(count, of).proportion_ci(method="wilson")
    return float(low), float(high)


def share(part: int, of: int, images: int | None = None) -> tuple[float, float, float]:
    """The share ``part`` of ``of``, and its interval: that of so many independent ``images``; None:
    all of them are.
    """
    images = images or of
    return part / of, *wilson(round(part / of * images), images)


def blocks(groups: Sequence[str]) -> NDArray[np.int64]:
    """A number for each image (N,), from 0 on: the same for those of one group; "" is alone."""
    names = [group or at for at, group in enumerate(groups)]
    index = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([index[name] for name in names], np.int64)


def independent(scores: Tensor, groups: Sequence[str]) -> int:
    """How many independent images tell as much as these (N,), of which groups are alike."""
    if not any(groups):
        return len(scores)
    where, centered = blocks(groups), (scores - scores.mean()).double()
    spread, number = centered.square().sum().item(), int(where.max()) + 1
    if number == 1 or not spread:  # which do not show how alike groups are: each counts as one
        return number
    sums = torch.zeros(number, dtype=torch.float64)
    sums.index_add_(0, torch.from_numpy(where), centered)
    effect = max(sums.square().sum().item() / spread, 1.0)
    return max(round(len(scores) / effect), 1)


def f1(hits: int, predicted: int, true: int, images: int | None) -> tuple[float, float, float]:
    """F1 of a class, and its interval; ``images`` as for `share`.

    It is 2J / (1 + J) of the share J that the right ones have of all that are said or true: so are
    the ends.
    """
    either = predicted + true - hits
    low, high = (2 * end / (1 + end) for end in share(hits, either, images)[1:])
    return 2 * hits / (predicted + true), low, high


def mean_with_interval(figures: Array) -> Array:
    """The mean (3,) of independent figures (K, 3), each with its interval: what they are off by is
    summed as variances are (Zou and Donner, Statistics in Medicine 27 (2008), "MOVER").
    """
    if not len(figures):
        return np.zeros(3)
    middle, low, high = figures.T
    mean, count = middle.mean(), len(figures)
    below, above = (np.sqrt(np.square(middle - end).sum()) / count for end in (low, high))
    return np.array([mean, max(mean - below, 0.0), min(mean + above, 1.0)])


def bootstrapped(figures: Figures, where: NDArray[np.int64]) -> tuple[Array, Array]:
    """Low and high ends (F,) of figures of images; ``where`` are their `blocks`."""
    images, count = len(where), int(where.max()) + 1
    if count == 1:  # of which nothing else can be drawn, and scipy draws nothing
        only = figures(np.ones((1, images)))[:, 0]
        return only, only

    def drawn(chosen: Array, axis: int) -> Array:  # noqa: ARG001 - as scipy calls it
        # How often each image is there says as much as a copy of each, and is 30 times as quick.
        times = np.array([np.bincount(row, minlength=count) for row in chosen], np.float64)
        return figures(times if count == images else times[:, where])

    ends = bootstrap(
        (np.arange(count),),
        drawn,
        vectorized=True,
        n_resamples=DRAWS,
        random_state=SEED,
        batch=max(NUMBERS // images, 1),
        method="percentile",
    ).confidence_interval
    return np.asarray(ends.low), np.asarray(ends.high)


def counted(predicted: Matrix, true: Matrix, times: Array) -> tuple[Array, Array, Array]:
    """Of each class or label (K, B) in B draws of the images: right ones, said ones, true ones.

    ``predicted`` and ``true`` are zeros and ones (N, K).
    """
    hits, said_so, is_so = (
        each.T @ times.T for each in (predicted.multiply(true), predicted, true)
    )
    return hits, said_so, is_so


def f1s(hits: Array, predicted: Array, true: Array) -> Array:
    """F1 (K, B) of what `counted` gives; 0 where a class neither occurs nor is said."""
    return 2 * hits / np.maximum(predicted + true, 1)


def average_precisions(outputs: Array, targets: Array, times: Array) -> Array:
    """The average precision (K, B) of each label in B draws of the images; NaN where it does not
    occur.

    Of outputs (N, K), labels in 0..1 (N, K), and how often each image was drawn, ``times`` (B, N).
    """
    precisions = []
    for scores, present in zip(outputs.T, targets.T > 0.5, strict=True):
        order = np.argsort(-scores, kind="stable")
        # No threshold separates images of equal score.
        last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
        seen = np.cumsum(times[:, order], axis=1)[:, last]
        hits = np.cumsum(times[:, order] * present[order], axis=1)[:, last]
        gained = np.diff(hits, axis=1, prepend=0.0)
        precision = (gained * hits / np.maximum(seen, 1)).sum(axis=1)
        occurs = hits[:, -1] > 0
        none = np.full(len(times), np.nan)
        precisions.append(np.divide(precision, hits[:, -1], out=none, where=occurs))
    return np.array(precisions).reshape(-1, len(times))  # of no labels, too


def mean_of_known(figures: Array) -> Array:
    """The mean (B,) of figures (K, B) that are not NaN; 0 where none is known."""
    known = ~np.isnan(figures)
    return cast(Array, np.where(known, figures, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1))


def r2s(outputs: Array, targets: Array, times: Array) -> Array:
    """`r2` (B,) of B draws of the images; arguments as for `average_precisions`."""
    error = times @ np.square(outputs - targets).sum(axis=1)
    centered = targets - targets.mean(axis=0)  # else the difference of two large numbers is left
    means = times @ centered / times.sum(axis=1, keepdims=True)
    spread = times @ np.square(centered).sum(axis=1)
    spread -= times.sum(axis=1) * np.square(means).sum(axis=1)
    varies = spread > 1e-12
    return np.where(varies, 1 - error / np.where(varies, spread, 1.0), 0.0)


def warning(
    prepared: PreparedRun, lines: Sequence[Line], metrics: Mapping[str, float], *, gained: bool
) -> str:
    """Why the figures are too good, and why the result is no better than no training; empty if
    neither is so.

    Args:
        prepared: The run.
        lines: Those of the journal.
        metrics: On the test split.
        gained: Whether the test images show that training is better than the probe before it:
            then it does not matter that the validation images do not.
    """
    start = () if gained else _start(prepared, lines)
    seen = [too_good(prepared.seen, len(prepared.dataset.test), prepared.seen_by)]
    reasons = (
        *(seen if prepared.seen else ()),
        *_diverged(prepared, lines),
        *_chance(prepared, metrics),
        *start,
    )
    return "; ".join(reasons)


def _diverged(prepared: PreparedRun, lines: Sequence[Line]) -> Iterator[str]:
    steps = [line["loss"] for line in lines if line["kind"] == "step"]
    epochs = [line["train_loss"] for line in lines if "train_loss" in line]
    if not steps or not epochs:
        return
    targets = targets_of(prepared.dataset.train, prepared.task).to(prepared.device)
    answers = _constant(prepared).to(prepared.device).expand(len(targets), -1)
    bound = max(steps[0], float(prepared.loss(answers, targets)))
    if not epochs[-1] <= RISE * bound:
        yield (
            f"training diverged: its loss was {steps[0]:.4g} in the first step and "
            f"{epochs[-1]:.4g} in the last epoch (try a smaller learning rate)"
        )


def _chance(prepared: PreparedRun, metrics: Mapping[str, float]) -> Iterator[str]:
    name = SCORE[prepared.task]
    targets = targets_of(prepared.dataset.test, prepared.task)
    answers = _constant(prepared).expand(len(targets), -1)
    reached = prepared.head.metrics(answers, targets, prepared.task)[name]
    if not metrics[name] > reached:
        yield (
            "no better than chance: the same answer for every test image has "
            f"{name.replace('_', ' ')} {reached:.4f}"
        )


def _start(prepared: PreparedRun, lines: Sequence[Line]) -> Iterator[str]:
    """Where training began with a probe, and no epoch or blend has a better score than that, though
    there is one.
    """
    name = SCORE[prepared.task]
    probes = [line[name] for line in lines if line["kind"] == "probe" and name in line]
    later = [line[name] for line in lines if line["kind"] in ("epoch", "blend") and name in line]
    if probes and later and not max(later) > probes[-1] and probes[-1] < MOST:
        yield (
            f"a probe alone had {name.replace('_', ' ')} {probes[-1]:.4f} on the validation "
            f"images, training {max(later):.4f} at best: nothing gained"
        )


def _constant(prepared: PreparedRun) -> Tensor:
    """The answer (1, K) that fits all training images best: shares as logits, or means."""
    targets = targets_of(prepared.dataset.train, prepared.task)
    if prepared.task == "regression":
        return targets.mean(dim=0, keepdim=True)
    if prepared.task == "multi-label":
        return targets.mean(dim=0, keepdim=True).logit(LEAST_SHARE)
    counts = torch.bincount(targets, minlength=len(prepared.dataset.classes))
    return (counts.float() / len(targets)).clamp(LEAST_SHARE).log()[None]
