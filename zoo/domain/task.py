"""Task: what the outputs of a network mean."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["PIPELINES", "SCORE", "TASKS", "Task"]

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

PIPELINES: dict[Task, tuple[str, str]] = {
    "classification": ("image-classification", "image-classification"),
    "multi-label": ("image-classification", "multi-label-image-classification"),
    "regression": ("other", "image-regression"),
}
"""What the HF Hub calls a task, and its kind of it, in ``model-index`` (huggingface.js,
``tasks/src/pipelines.ts``). It has no word for numbers, and takes a network of timm that tells none
for a classifier."""
