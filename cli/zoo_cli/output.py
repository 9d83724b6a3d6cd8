"""Printing: data to stdout, the rest to stderr."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO, cast

import click

from zoo.domain.progress import clean
from zoo.domain.reading import READING
from zoo.domain.task import ERRORS, SCORE, Task
from zoo.domain.words import amount, percent, size
from zoo.errors import InvalidReference

if TYPE_CHECKING:
    from zoo.domain.change import Change
    from zoo.domain.digest import Digest

__all__ = [
    "FOUND",
    "brief",
    "clean",
    "count",
    "fitted",
    "moved",
    "note",
    "on_terminal",
    "paragraph",
    "percent",
    "print_error",
    "print_json",
    "print_json_list",
    "readers_may_leave",
    "result",
    "scored",
    "shortened",
    "side_by_side",
    "size",
    "table",
    "warnings_noted",
    "with_short_digests",
]


FOUND = "(found, not declared)"
"""What stands behind a parent that nobody has declared."""
GAP = 2
"""Spaces between columns."""


def print_json(data: object) -> None:
    """Print data as JSON, indented; floats keep all their digits."""
    click.echo(_json(data, indent=2))


def print_json_list(items: Iterable[object]) -> None:
    """As `print_json` prints a list, each item as soon as it is there."""
    begin = "[\n"
    for item in items:
        click.echo(begin + textwrap.indent(_json(item, indent=2), "  "), nl=False)
        begin = ",\n"
    click.echo("[]" if begin == "[\n" else "\n]")


def print_error(error: dict[str, object]) -> None:
    """Print what a command failed of as JSON, on stderr and in one line: the last one there."""
    click.echo(_json({"error": error}), err=True)


def _json(data: object, indent: int | None = None) -> str:
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    # JSON escapes the ASCII control characters only; terminals obey those of Latin-1, too, and what
    # turns the direction of a line. Of names of files, some bytes are no UTF-8.
    return re.sub(
        r"[\ud800-\udfff\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]",
        lambda char: f"\\u{ord(char[0]):04x}",
        text,
    )


def note(text: str) -> None:
    """Tell the user something that is not data."""
    click.echo(clean(text), err=True)


@contextmanager
def warnings_noted() -> Iterator[None]:
    """While it is open, the user is told what the library warns of, and what a decoder warns of in
    one line with the file that it reads.
    """
    logger, handler, show = logging.getLogger("zoo"), _Notes(), warnings.showwarning

    def note_file(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if path := READING.get():
            note(f"{path}: {message}")
        else:
            show(message, category, filename, lineno, file, line)

    logger.addHandler(handler)
    warnings.showwarning = note_file
    try:
        yield
    finally:
        logger.removeHandler(handler)
        warnings.showwarning = show


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            note(record.getMessage())


def scored(task: Task, metrics: Mapping[str, float]) -> str:
    """What results of a task are judged by, with its interval: ``r2 0.8123 (0.790 to 0.830)``; of
    numbers their errors, too.
    """
    name = SCORE[task]
    if name not in metrics:
        return f"no {name.replace('_', ' ')}"
    errors = "".join(f", {x} {metrics[x]:.4f}" for x in ERRORS.get(task, ()) if x in metrics)
    text = f"{name.replace('_', ' ')} {metrics[name]:.4f}"
    if f"{name}_low" not in metrics:  # runs of earlier versions have none
        return text + errors
    return f"{text} ({metrics[f'{name}_low']:.3f} to {metrics[f'{name}_high']:.3f}){errors}"


def brief(value: float, low: float | None, high: float | None, digits: int = 3) -> str:
    """A figure with its interval, in few letters: ``0.978 (0.96-0.99)``."""
    ends = "" if low is None or high is None else f" ({low:.2f}-{high:.2f})"
    return f"{value:.{digits}f}{ends}"


def shortened(name: str) -> str:
    """A name as it is; a digest, of what has none, short."""
    from zoo.domain.digest import Digest

    with suppress(InvalidReference):
        return Digest.parse(name).short
    return name


def with_short_digests(text: str) -> str:
    """The text with its digests short, which stand there for what has no name."""
    return re.sub(r"\b[a-z0-9]+:[0-9a-f]{64}\b", lambda match: shortened(match[0]), text)


def count(number: int | None) -> str:
    """A count for people: ``4.7M``; ``-`` for None."""
    return "-" if number is None else amount(number)


def result(name: object, digest: Digest, *lines: str) -> None:
    """Print a checkpoint that came about, and below it what there is to say of it; lines that are
    too long for a terminal are broken, never in a pipe.
    """
    click.echo(clean(f"{name}  {digest.short}"))
    for line in lines:
        paragraph(line, "  ")


def moved(name: object, before: Digest | None, change: Change | None = None) -> list[str]:
    """That a name was another checkpoint's, and what differs, in lines; none if it was not."""
    if before is None:
        return []
    return [f"moved; was {before.short} (zoo log {name})", *(change.lines if change else ())]


def paragraph(text: str, indent: str = "") -> None:
    """Print a line; if it is too long for a terminal it is broken, never in a pipe."""
    broken = textwrap.TextWrapper(
        _width(),
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_on_hyphens=False,
        break_long_words=False,
    )
    click.echo(broken.fill(clean(text)))


def table(
    header: Sequence[str], rows: Sequence[Sequence[object]], least_first: Sequence[str] = ()
) -> None:
    """Print aligned columns, whole in a pipe.

    Columns ``least_first`` that tell nothing are left out. On a terminal those of the others stay
    for which there is room, the last ones first, and those after them that tell little. A line that
    is too long all the same goes on in the next one: no value is cut.
    """
    columns = [[clean(cell) for cell in column] for column in zip(header, *rows, strict=True)]
    width = _width()

    filled = {c[0]: sum(cell not in ("", "-") for cell in c[1:]) for c in columns}
    left, kept = width + GAP, [c for c in columns if c[0] not in least_first]
    left -= sum(max(map(len, column)) + GAP for column in kept)
    telling = [name for name in least_first[::-1] if filled.get(name) or not rows]
    for name in sorted(telling, key=lambda name: 2 * filled.get(name, 0) < len(rows)):
        for column in [column for column in columns if column[0] == name]:
            if (wide := max(map(len, column)) + GAP) <= left:
                kept.append(column)
                left -= wide
    columns = [column for column in columns if any(column is each for each in kept)]
    _print_columns(columns)


def _print_columns(columns: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        padded = (cell.ljust(wide) for cell, wide in zip(row, widths, strict=True))
        click.echo((" " * GAP).join(padded).rstrip())


def _width() -> int:
    """The columns of the terminal; in a pipe nothing is broken."""
    return shutil.get_terminal_size().columns if on_terminal(sys.stdout) else sys.maxsize


def fitted(
    header: Sequence[str], rows: Sequence[Sequence[str]], least_first: Sequence[str]
) -> None:
    """As `table`; on a terminal on which its other columns have no room, a paragraph for each row:
    the first value, and below it the others, of the least what tells something.
    """
    kept = [at for at, name in enumerate(header) if name not in least_first]
    wide = sum(max(len(clean(row[at])) for row in (header, *rows)) + GAP for at in kept) - GAP
    if wide <= _width():
        table(header, rows, least_first)
        return
    for first, *others in rows:
        click.echo(clean(first))
        cells = zip(header[1:], others, strict=True)
        paragraph("; ".join(f"{name.lower()} {text}" for name, text in cells if text != "-"), "  ")


def side_by_side(names: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Print a column for each of ``names``, and what each row is called before them.

    On a terminal as many at once as have room, and the others below; nothing is cut.
    """
    width = _width()
    columns = [
        [clean(name), *(clean(values[at]) for _, values in rows)] for at, name in enumerate(names)
    ]
    labels = ["", *(clean(label) for label, _ in rows)]
    while columns:
        shown, room = [labels], width - max(map(len, labels))
        while columns and (len(shown) == 1 or max(map(len, columns[0])) + GAP <= room):
            room -= max(map(len, columns[0])) + GAP
            shown.append(columns.pop(0))
        _print_columns(shown)
        if columns:
            click.echo()


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """Let whoever reads the output close the pipe, as ``head`` does, and the command go on.

    What is printed after that goes nowhere. The command does all that it was asked for, so its exit
    status says whether that was done, and not whether somebody read about it.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, stream and _Pipe(stream)) for stream in before)
    try:
        yield
    finally:
        with suppress(AttributeError):  # a stream that is closed is None
            sys.stdout.flush()
        sys.stdout, sys.stderr = before


class _Pipe:
    """A stream that leads nowhere once its reader has left."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if somebody reads."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._lead_nowhere()
            return len(text)

    def flush(self) -> None:
        """Flush, if somebody reads."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._lead_nowhere()

    def _lead_nowhere(self) -> None:
        # The file, too: what is buffered is written once more when the program ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def on_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is open (a closed one is None) and a terminal."""
    return stream is not None and stream.isatty()
