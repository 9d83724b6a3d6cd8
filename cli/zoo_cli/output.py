"""Printing: data to stdout, the rest to stderr; progress on a terminal only."""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

from zoo import config
from zoo.domain.task import SCORE, Task

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from zoo.domain.progress import Task as Shown

__all__ = [
    "Notes",
    "clean",
    "count",
    "note",
    "print_json",
    "scored",
    "size",
    "table",
    "terminal_progress",
]


def print_json(data: Any) -> None:
    """Print data as JSON, indented; floats keep all their digits."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    # JSON escapes the ASCII control characters only; terminals obey those of Latin-1, too.
    click.echo(re.sub(r"[\x7f-\x9f]", lambda char: f"\\u{ord(char[0]):04x}", text))


def note(text: str) -> None:
    """Tell the user something that is not data."""
    click.echo(clean(text), err=True)


class Notes(logging.Handler):
    """What the library tells beside what it is asked for, such as what it left out."""

    def emit(self, record: logging.LogRecord) -> None:
        """Tell the user one thing."""
        note(record.getMessage())


def clean(value: object) -> str:
    """Text for a terminal: control characters, which may come from anybody's names, are shown
    as ``?``.
    """
    return "".join(char if char.isprintable() else "?" for char in str(value))


def scored(task: Task, metrics: Mapping[str, float]) -> str:
    """What results of a task are judged by, with its interval: ``r2 0.8123 (0.790 to 0.830)``."""
    name = SCORE[task]
    text = f"{name.replace('_', ' ')} {metrics[name]:.4f}"
    if f"{name}_low" not in metrics:  # runs of earlier versions have none
        return text
    return f"{text} ({metrics[f'{name}_low']:.3f} to {metrics[f'{name}_high']:.3f})"


def size(number: float) -> str:
    """Bytes for people: ``18.7 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(number) < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError("unreachable")


def count(number: int | None) -> str:
    """A count for people: ``4.7M``; ``-`` for None."""
    if number is None:
        return "-"
    for limit, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return str(number)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns; lines are cut at the width of a terminal, never in a pipe."""
    cells = [[clean(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    width = shutil.get_terminal_size().columns if on_terminal(sys.stdout) else None
    for row in cells:
        line = "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        click.echo(line[:width])


def on_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is open (a closed one is None) and a terminal."""
    return stream is not None and stream.isatty()


@contextmanager
def terminal_progress(label: str, total: float | None, unit: str = "") -> Iterator[Shown]:
    """A progress bar on stderr, if that is a terminal (`zoo.domain.progress.Progress`).

    Of several processes the first one shows it.
    """
    if config.rank() or not on_terminal(sys.stderr):
        from zoo.domain.progress import silent

        with silent(label, total, unit) as task:
            yield task
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    amounts = [DownloadColumn(), TransferSpeedColumn()] if unit == "B" else [MofNCompleteColumn()]
    columns = [
        TextColumn("{task.description}"), BarColumn(), *amounts, TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    ]  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Bar(bar, bar.add_task(label, total=total, note=""))


class _Bar:
    def __init__(self, bar: RichProgress, task: TaskID) -> None:
        self.bar, self.task = bar, task

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Report ``amount`` more done; a note replaces the one shown."""
        if note:
            self.bar.update(self.task, advance=amount, note=note)
        else:
            self.bar.update(self.task, advance=amount)
