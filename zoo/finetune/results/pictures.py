"""Pictures of a run: learning curves, the confusion matrix and the depth curve."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix
from torch import Tensor

from zoo.finetune.results.journal import Line

if TYPE_CHECKING:
    from zoo.finetune.strategies.depth import Curve

__all__ = ["draw_confusion", "draw_curves", "draw_depth"]

NAMED = 40
"""Most classes whose names fit beside a matrix."""


def draw_curves(lines: Iterable[Line], score: str) -> Figure:
    """Loss, rate and score over the steps of a run, from the lines of its journal."""
    noted = list(lines)
    steps = [line for line in noted if line["kind"] == "step"]
    epochs = [line for line in noted if line["kind"] == "epoch" and score in line]
    figure = Figure(figsize=(8, 7), layout="constrained")
    loss, rate, result = figure.subplots(3, sharex=True)
    loss.plot([line["steps"] for line in steps], [line["loss"] for line in steps])
    loss.set_ylabel("training loss")
    rate.plot([line["steps"] for line in steps], [line["lr"] for line in steps])
    rate.set_ylabel("rate of the head")
    result.plot([line["steps"] for line in epochs], [line[score] for line in epochs], "o-")
    result.set_ylabel(f"validation {score.replace('_', ' ')}")
    result.set_xlabel("step")
    return figure


def draw_confusion(outputs: Tensor, targets: Tensor, classes: Sequence[str]) -> Figure:
    """How often each class (rows) was taken for each (columns), as a share of the class.

    Of outputs (N, K), class indices (N,) and the names of K classes.
    """
    counts = confusion_matrix(
        targets.numpy(), outputs.argmax(dim=1).numpy(), labels=range(len(classes))
    )
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), vmin=0, vmax=1)
    figure.colorbar(image, label="share of the class")
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    if len(classes) <= NAMED:
        xs, names = range(len(classes)), [_plain(name) for name in classes]
        axes.set_xticks(xs, names, rotation=90)
        axes.set_yticks(xs, names)
    return figure


def draw_depth(curve: Curve) -> Figure:
    """The score of a probe at each unit, with its standard error, and of nearest neighbors."""
    points, xs = curve.points, range(len(curve.points))
    figure = Figure(figsize=(max(6.0, 0.35 * len(points)), 5), layout="constrained")
    axes = figure.subplots()
    scores, errors = [p.score for p in points], [p.error for p in points]
    axes.errorbar(xs, scores, yerr=errors, fmt="o-", capsize=2, label="probe")
    near = [math.nan if p.knn is None else p.knn for p in points]
    if not all(map(math.isnan, near)):
        axes.plot(xs, near, "s--", alpha=0.6, label="nearest neighbors")
    chosen = points[curve.chosen]
    axes.axvline(curve.chosen, color="gray", linestyle=":", label=f"chosen: {_plain(chosen.unit)}")
    axes.set_xticks(xs, [_plain(p.unit) for p in points], rotation=90)
    axes.set_ylabel("score on images held out")
    axes.legend()
    return figure


def _plain(name: str) -> str:
    return name.replace("$", r"\$")[:30]  # a dollar sign begins a formula
