"""Progress: how whoever started long work learns how far it is; `zoo.open` takes one.

`Console` is what a zoo has unless another is given: lines on stderr, and bars where that is a
terminal. ``zoo.open(progress=False)`` turns it off.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from zoo import config
from zoo.errors import InvalidOption

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

__all__ = ["Console", "Progress", "Task", "clean", "silent", "spoken"]

EVERY = 30.0
"""Seconds after which work without a bar says how far it is."""


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

    def say(self, text: str) -> None:
        """Show a line that stays, such as the figures of an epoch; a subclass need not."""
        del text


class _Silent:
    @contextmanager
    def __call__(self, label: str, total: float | None, unit: str = "") -> Iterator[Task]:  # noqa: ARG002
        """Show nothing."""
        yield self

    def say(self, text: str) -> None:
        """Show nothing."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Show nothing."""


silent: Progress = _Silent()
"""The `Progress` that shows nothing."""


class Console:
    """Lines on stderr, and a bar while work is going on: on a terminal, else a line whenever
    nothing was said for half a minute.

    Of several processes the first one speaks.
    """

    def __init__(self) -> None:
        self.said = time.monotonic()

    @contextmanager
    def __call__(self, label: str, total: float | None, unit: str = "") -> Iterator[Task]:
        """See `Progress.__call__`."""
        if config.rank() or sys.stderr is None or not sys.stderr.isatty():
            yield _Lines(self, label, total, unit)
            return
        with _bar(label, total, unit) as bar:
            yield _Shown(bar, bar.add_task(label, total=total, note=""))

    def say(self, text: str) -> None:
        """See `Progress.say`."""
        self.said = time.monotonic()
        # A closed stream is None or raises, and nobody may be reading: no reason to end the work.
        with suppress(OSError, ValueError):
            if config.rank() == 0 and sys.stderr is not None:
                sys.stderr.write(clean(text) + "\n")
                sys.stderr.flush()


def spoken(progress: Progress | bool) -> Progress:
    """A progress as callers give it: True is a `Console`, False says nothing.

    Raises:
        InvalidOption: It is neither, and no `Progress`.
    """
    if isinstance(progress, bool):
        return Console() if progress else silent
    if not (callable(progress) and callable(getattr(progress, "say", None))):
        raise InvalidOption("progress is True, False, or an object of a subclass of zoo.Progress")
    return progress


def clean(value: object) -> str:
    """Text for a terminal: control characters, which may come from anybody's names, are shown
    as ``?``.
    """
    return "".join(char if char.isprintable() else "?" for char in str(value))


class _Lines:
    """Work in a pipe, a log or a notebook."""

    def __init__(self, to: Console, label: str, total: float | None, unit: str) -> None:
        self._to, self._label, self._total, self._unit = to, label, total, unit
        self._done, self._began = 0.0, time.monotonic()

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Count, and say so now and then."""
        self._done += amount
        if time.monotonic() < max(self._began, self._to.said) + EVERY:
            return
        done, total = self._done, self._total
        if self._unit == "B":
            done, total = done / 1e6, total and total / 1e6
        of = f" of {total:,.0f}" if total else ""
        what = " MB" if self._unit == "B" else ""
        self._to.say(f"{self._label}: {done:,.0f}{of}{what}{', ' * bool(note)}{note}")


class _Shown:
    def __init__(self, bar: Bar, task: TaskID) -> None:
        self.bar, self.task = bar, task

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Report ``amount`` more done; a note replaces the one shown."""
        if note:
            self.bar.update(self.task, advance=amount, note=note)
        else:
            self.bar.update(self.task, advance=amount)


def _bar(label: str, total: float | None, unit: str) -> Bar:
    """A bar that leaves nothing behind; lines that are written meanwhile stay above it."""
    from rich.console import Console as Terminal
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.table import Column

    def whole(least: int) -> Column:
        """A column that stays readable where the line is too long for the terminal."""
        return Column(no_wrap=True, min_width=least)

    done = MofNCompleteColumn(table_column=whole(len(f"{total or 0:.0f}") * 2 + 1))
    amounts = [DownloadColumn(), TransferSpeedColumn()] if unit == "B" else [done]
    columns = [
        TextColumn("{task.description}", table_column=whole(len(label))),
        BarColumn(None, table_column=Column(ratio=1, max_width=40)),
        *amounts,
        TimeRemainingColumn(table_column=whole(len("0:00:00"))),
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True)),
    ]
    return Progress(*columns, console=Terminal(stderr=True), transient=True)
