"""Launched: a fine-tune in several processes from Python, by the program that a shell starts."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, Popen
from tempfile import TemporaryDirectory
from threading import current_thread, main_thread
from types import FrameType
from typing import IO, cast

from zoo import errors
from zoo.domain.recipe import Recipe
from zoo.errors import InvalidOption, ZooError
from zoo.finetune.conclude import Finetuned
from zoo.finetune.results.trackers import Log, named

__all__ = ["launched", "recipe_file"]

ERROR = '{"error"'
"""How the line begins that a command fails with; whoever started it has one of its own after it."""
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
PROGRAM = (sys.executable, "-m", "zoo_cli")


def launched(
    root: Path,
    words: Iterable[object],
    how: object,
    *,
    log: Log,
    recipe: Recipe | None,
    shown: bool,
) -> Finetuned:
    """Run the command ``words`` with ``--launch how`` in the zoo ``root``; what it made.

    Args:
        root: The zoo.
        words: The command with its options.
        how: A number of processes, or a config file of accelerate.
        log: Names of trackers.
        recipe: The recipe, unless the command needs none.
        shown: Whether what it says of its progress goes to stderr.

    Raises:
        InvalidOption: A tracker is an object, which other processes do not have.
        ZooError: Of the class and with the text that the first process ended with.
    """
    names = named(log)
    if len(names) < len([log] if isinstance(log, str) or not isinstance(log, Sequence) else log):
        raise InvalidOption("several processes take trackers by the names of plugins, not objects")
    options = [word for name in names for word in ("--log", name)] + ["--quiet"] * (not shown)
    with recipe_file(recipe) if recipe else nullcontext() as file:
        of = ("--recipe", file) if file else ()
        given = (*words, *of, *options, "--launch", how, "--home", root, "--json")
        return _run([*PROGRAM, *map(str, given)], shown=shown)


@contextmanager
def recipe_file(recipe: Recipe) -> Iterator[Path]:
    """A file that ``--recipe`` takes, as long as the context lasts."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "recipe.toml")
        # All options are there, those of a preset, too: a file names none.
        options = replace(recipe, preset="").to_json()
        given = {name: value for name, value in options.items() if value is not None}
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in given.items()]
        file.write_text("".join(lines), encoding="utf-8")
        yield file


def _run(command: list[str], *, shown: bool) -> Finetuned:
    # A group of its own: a terminal interrupts all of this process's group, a notebook this process
    # alone. So it is always interrupted from here, and once: a second time cuts its end short.
    with (
        _interrupts_held() as let_interrupt,
        Popen(
            command, stdout=PIPE, stderr=PIPE, text=True, encoding="utf-8", process_group=0
        ) as process,
        _ended_with_this(process.pid),
    ):
        try:
            let_interrupt()
            last = _follow(cast(IO[str], process.stderr), shown=shown)
            out = cast(IO[str], process.stdout).read()
        except KeyboardInterrupt as interrupt:
            _send(process.pid, signal.SIGINT)
            # What it says now is how to resume; or where it was, if it had hardly begun.
            failure = _failed(_follow(cast(IO[str], process.stderr), shown=False), 130)
            for text in getattr(failure, "__notes__", ()):  # how to resume
                interrupt.add_note(text)
            raise
    if process.returncode:
        raise _failed(last, process.returncode)
    return Finetuned.from_json(json.loads(out))


@contextmanager
def _interrupts_held() -> Iterator[Callable[[], None]]:
    """Hold back an interrupt until what it gives is called: a program that is only being started
    would never hear of it.
    """
    came: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    holds = current_thread() is main_thread() and callable(before)  # else nothing is raised here

    def let_through() -> None:
        if holds:
            signal.signal(signal.SIGINT, before)
        if came:
            raise KeyboardInterrupt

    if holds:
        signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield let_through
    finally:
        if holds:
            signal.signal(signal.SIGINT, before)


@contextmanager
def _ended_with_this(group: int) -> Iterator[None]:
    """While it is open, signals that end this process are sent to ``group``, too."""

    def end(number: int, _: FrameType | None) -> None:
        _send(group, number)
        signal.signal(number, before[signal.Signals(number)])
        signal.raise_signal(number)

    before = {number: signal.getsignal(number) for number in ENDING}
    here = current_thread() is main_thread()  # others set no handlers
    handled = [number for number in ENDING if here and before[number] != signal.SIG_IGN]
    for number in handled:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


def _send(group: int, number: int) -> None:
    with suppress(ProcessLookupError):  # all have ended
        os.killpg(group, number)


def _follow(lines: Iterable[str], *, shown: bool) -> str:
    """Pass on lines while they come; the first that tells an error, else the last."""
    last = ""
    for line in lines:
        if last.startswith(ERROR) or not line.strip():
            continue
        last = line.strip()
        if shown and not last.startswith(ERROR):
            sys.stderr.write(line)
    return last


def _failed(last: str, status: int) -> BaseException:
    try:
        reported = json.loads(last)["error"]
        name = "".join(part.capitalize() for part in reported["code"].split("_"))
    except (ValueError, KeyError, TypeError):
        return ZooError(last.removeprefix("error: ") or f"it ended with the status {status}")
    if reported["code"] == "interrupted":
        interrupt = KeyboardInterrupt()
        interrupt.add_note(reported["hint"] or "")
        return interrupt
    kind = getattr(errors, name, ZooError)
    error: ZooError = kind.__new__(kind)
    ZooError.__init__(error, reported["message"], hint=reported["hint"] or "")
    return error
