"""Calibrate: what the validation images tell of how far a network's answers can be trusted.

A temperature (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017) is what outputs
are divided by: the likeliest one, where ln T is thought to be about `SPREAD` from 0. It is taken
if in cross-validation the loss is better by more than a standard error: so few images, or such of
which all are told right, do not make probabilities of 1. ADR 62 has how often that did harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import betaincinv, expit, log_expit, log_softmax, softmax
from scipy.stats import ttest_1samp

from zoo.domain.calibration import BINS, Bin, Effect, Step
from zoo.domain.task import Task
from zoo.domain.words import plural
from zoo.finetune.results.interval import blocks, independent

__all__ = ["effect_of", "fitted_temperature", "reliability", "risk_coverage"]

Array = NDArray[np.float64]

SPREAD = 0.5
BOUNDS = log(0.05), log(20)
"""Of ln T."""
FOLDS, SEED = 5, 0
FEWEST = 20
"""Images, or groups of them: of fewer it did harm too often."""
STEPS = 200
"""Rows of the table of answers, at most."""
ONE_SIDED = 0.05


def fitted_temperature(
    task: Task, outputs: NDArray[Any], targets: NDArray[Any], groups: Sequence[str] = ()
) -> float | str:
    """The temperature for outputs (N, K) and targets (see `zoo.contracts.Head.loss`), or why there
    is none, which of numbers goes without saying; images of one of the ``groups`` (N,) stay in one
    fold.
    """
    if task == "regression":
        return ""  # numbers have no probabilities
    outputs = outputs.astype(np.float64)
    where = blocks(groups or [""] * len(outputs))
    count = int(where.max()) + 1 if len(where) else 0
    if count < FEWEST:
        groups_of = "group of validation images", "groups of validation images"
        size = plural(count, *(groups_of if any(groups) else ("validation image",)))
        return (
            f"{size} {'is' if count == 1 else 'are'} too few to fit a temperature; {FEWEST} may do"
        )
    fold = np.random.default_rng(SEED).permutation(count)[where] % FOLDS
    gains = np.empty(len(outputs))
    for at in range(FOLDS):
        out = fold == at
        best = _likeliest(task, outputs[~out], targets[~out])
        before, after = (_losses(task, outputs[out], targets[out], t) for t in (1.0, best))
        gains[out] = before - after
    sums = np.bincount(where, gains)
    if sums.mean() <= sums.std(ddof=1) / count**0.5:
        return "in cross-validation a temperature made the probabilities no better"
    return _likeliest(task, outputs, targets)


def _likeliest(task: Task, outputs: Array, targets: NDArray[Any]) -> float:
    def cost(log_t: float) -> float:
        fit: float = _losses(task, outputs, targets, exp(log_t)).sum()
        return fit + log_t**2 / (2 * SPREAD**2)

    # In 1/T the loss has one minimum, and in ln T it has the same.
    return exp(minimize_scalar(cost, bounds=BOUNDS, method="bounded", options={"xatol": 1e-8}).x)


def _losses(task: Task, outputs: Array, targets: NDArray[Any], temperature: float) -> Array:
    """Of each image (N,): minus the log of the probability of what it shows."""
    scaled, values = outputs / temperature, None
    if task == "classification":
        values = -np.take_along_axis(log_softmax(scaled, axis=1), targets[:, None], axis=1)[:, 0]
    else:
        values = -(targets * log_expit(scaled) + (1 - targets) * log_expit(-scaled)).sum(axis=1)
    losses: Array = values
    return losses


def effect_of(
    task: Task,
    outputs: NDArray[Any],
    targets: NDArray[Any],
    temperature: float,
    groups: Sequence[str] = (),
) -> Effect | None:
    """What a temperature comes to for outputs (N, K) and targets that it was not fitted on, by a
    paired t test of the losses, of groups their sums; None if it is 1.
    """
    if temperature == 1 or not len(outputs):
        return None
    each = 1 if task == "classification" else outputs.shape[1]  # the mean over labels
    raw, after = (_losses(task, outputs.astype(np.float64), targets, t) for t in (1.0, temperature))
    sums = np.bincount(blocks(groups or [""] * len(outputs)), after - raw)
    differs = len(sums) > 1 and sums.std() > 0
    return Effect(
        images=len(outputs),
        loss=float(after.mean() / each),
        raw_loss=float(raw.mean() / each),
        p=float(ttest_1samp(sums, 0).pvalue) if differs else 1.0,
    )


def reliability(
    task: Task, outputs: NDArray[Any], targets: NDArray[Any], temperature: float
) -> tuple[Bin, ...]:
    """Probabilities of outputs (N, K) in equally wide bins, those that have some; none of numbers.

    Of classes they are those of the likeliest one of each image, of labels those of all.
    """
    if task == "regression":
        return ()
    scaled = outputs.astype(np.float64) / temperature
    if task == "classification":
        likely, right = softmax(scaled, axis=1).max(axis=1), outputs.argmax(axis=1) == targets
    else:
        likely, right = expit(scaled).ravel(), targets.ravel() > 0.5
    place = np.minimum((likely * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    sums = (np.bincount(place, each, minlength=BINS) for each in (likely, right))
    means = [total / np.maximum(counts, 1) for total in sums]
    return tuple(
        Bin(int(count), min(float(sure), 1.0), float(true))
        for count, sure, true in zip(counts, *means, strict=True)
        if count
    )


def risk_coverage(
    outputs: NDArray[Any], targets: NDArray[Any], temperature: float, groups: Sequence[str] = ()
) -> tuple[Step, ...]:
    """What answers for classes are worth by how sure the network is, at most `STEPS` rows; the
    last one is of all images. Lower bounds are Clopper and Pearson's, of as many independent
    images as tell as much where images belong together in ``groups``.
    """
    likely = softmax(outputs.astype(np.float64) / temperature, axis=1).max(axis=1)
    order = np.argsort(-likely, kind="stable")
    right = (outputs.argmax(axis=1) == targets)[order]
    hits, sure = np.cumsum(right), likely[order]
    last = np.flatnonzero(np.append(sure[1:] < sure[:-1], True))  # of images alike none is left out
    chosen = last[np.unique(np.linspace(0, len(last) - 1, STEPS).round().astype(np.int64))]
    steps = []
    for at in chosen.tolist():
        named = [groups[each] for each in order[: at + 1].tolist()] if any(groups) else []
        images = independent(torch.from_numpy(right[: at + 1]).double(), named)
        share = hits[at] / (at + 1)
        low = betaincinv(share * images, images - share * images + 1, ONE_SIDED) if share else 0.0
        steps.append(Step(float(sure[at]), at + 1, int(hits[at]), float(low)))
    return tuple(steps)
