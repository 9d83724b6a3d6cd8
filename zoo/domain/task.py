"""Task: what the outputs of a network mean."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["TASKS", "Task"]

Task = Literal["classification", "multi-label", "regression"]
"""One class of several; each label by itself, present or not; numbers."""

TASKS: tuple[Task, ...] = get_args(Task)
