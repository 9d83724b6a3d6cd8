"""Progress: how long work tells whoever started it how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["Progress", "Task", "silent"]


class Task(Protocol):
    """One piece of long work that is under way."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Report ``amount`` more units done; ``note`` replaces the text shown beside the bar."""


class Progress(Protocol):
    """Starts a task: ``with progress("reading", total=12, unit="B") as task: task.advance(3)``."""

    def __call__(
        self, label: str, total: float | None, unit: str = ""
    ) -> AbstractContextManager[Task]:
        """Open a task of ``total`` units (None: unknown); ``unit`` ``B`` means bytes."""


class _Silent:
    def advance(self, amount: float = 1, note: str = "") -> None:
        """Show nothing."""


@contextmanager
def silent(label: str, total: float | None, unit: str = "") -> Iterator[Task]:  # noqa: ARG001
    """The `Progress` that shows nothing."""
    yield _Silent()
