"""Task: what the outputs of a network mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from zoo.domain.manifest import Manifest

__all__ = [
    "COUNTS",
    "ERRORS",
    "PIPELINES",
    "PROBLEM_TYPES",
    "SCORE",
    "TASKS",
    "Task",
    "decided",
    "is_count",
    "is_figure",
    "is_raw_loss",
    "task_of",
    "task_of_problem",
    "with_intervals",
    "with_task",
]

Task = Literal["classification", "multi-label", "regression"]
"""One class of several; each label by itself, present or not; numbers."""

TASKS: tuple[Task, ...] = get_args(Task)
"""Every `Task`."""

SCORE: dict[Task, str] = {
    "classification": "accuracy",
    "multi-label": "mean_average_precision",
    "regression": "r2",
}
"""The figure by which the better of two results is told; more is better."""

ERRORS: dict[Task, tuple[str, ...]] = {"regression": ("mae", "rmse")}
"""Figures in the unit of the targets, which are told beside the `SCORE`."""

PIPELINES: dict[Task, tuple[str, str]] = {
    "classification": ("image-classification", "image-classification"),
    "multi-label": ("image-classification", "multi-label-image-classification"),
    "regression": ("other", "image-regression"),
}
"""What the HF Hub calls a task, and its kind of it, in ``model-index`` (huggingface.js,
``tasks/src/pipelines.ts``). It has no word for numbers, and takes a network of timm that tells none
for a classifier."""

PROBLEM_TYPES: dict[Task, str] = {
    "classification": "single_label_classification",
    "multi-label": "multi_label_classification",
    "regression": "regression",
}
"""What transformers calls a task, as ``problem_type`` of a ``config.json``: by it its pipelines
make probabilities of outputs, or none."""


def task_of(manifest: Manifest) -> Task:
    """What the outputs of a checkpoint mean."""
    learned = (manifest.recipe or {}).get("task")
    return next((task for task in TASKS if task == learned), "classification")


def with_task(manifest: Manifest, task: Task) -> Manifest:
    """``manifest`` of outputs that mean that."""
    recipe = {**(manifest.recipe or {}), "task": task}
    return replace(manifest, recipe=None if recipe == {"task": "classification"} else recipe)


COUNTS = {
    "test_images": "test images",
    "test_groups": "groups of test images",
    "test_seen": "test images seen in training",
}
"""Figures that are numbers of images, or of groups of them, and no measures; for people."""


def task_of_problem(problem: object) -> Task | None:
    """Inverse of `PROBLEM_TYPES`; None of anything else."""
    return next((task for task, name in PROBLEM_TYPES.items() if name == problem), None)


def is_count(name: str) -> bool:
    """Whether a figure is one of `COUNTS`, a whole number."""
    return name in COUNTS


def is_raw_loss(name: str, figures: Collection[str]) -> bool:
    """Whether a figure is the ``loss`` that an earlier version measured without the temperature
    that the other ``figures`` are by.
    """
    kind, at, data = name.partition("@")
    tempered, both = f"raw_calibration_error{at}{data}", f"raw_loss{at}{data}"
    return kind == "loss" and tempered in figures and both not in figures


def is_figure(name: str, figures: Collection[str]) -> bool:
    """Whether a figure measures something by itself: it is no count, and no end of the interval of
    another one.
    """
    return not is_count(name) and not _is_end(name, figures)


def _is_end(name: str, figures: Collection[str]) -> bool:
    return name.endswith(("_low", "_high")) and name.rpartition("_")[0] in figures


def with_intervals(figures: Mapping[str, float | None]) -> dict[str, str]:
    """Figures for people, each with its interval: ``0.8123 (0.790 to 0.830)`` by name.

    Those that are called ``NAME_low`` and ``NAME_high`` are the ends of that of ``NAME``.
    """
    shown = {}
    for name, value in figures.items():
        if _is_end(name, figures):
            continue
        low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
        ends = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
        digits = 0 if is_count(name) else 4
        shown[name] = "-" if value is None else f"{value:.{digits}f}{ends}"
    return shown


def decided(labels: Sequence[str], logits: Sequence[float]) -> str:
    """Those of the labels whose probability is above 0.5, as tables have them: ``a|b``."""
    return "|".join(name for name, logit in zip(labels, logits, strict=True) if logit > 0)
