"""Errors in the user's words: what happened, and the command that helps; or as JSON."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from errno import ENAMETOOLONG
from pathlib import Path

import click

from zoo import errors as e
from zoo.domain.plain import Json
from zoo_cli.output import note

__all__ = ["STATUS", "Failure", "codes", "failure", "raise_last", "tell"]

STATUS = {"usage": 2, "interrupted": 130}
"""The exit status of a code, where it is not 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a command failed of.

    Attributes:
        code: The kind of failure, for programs.
        message: What happened.
        hint: What to do about it; empty if nothing is known to help.
        shown: The message for people, where it has another form for them.
    """

    code: str
    message: str
    hint: str = ""
    shown: str = ""

    def to_json(self) -> Json:
        """Plain data for JSON."""
        return {"code": self.code, "message": self.message, "hint": self.hint or None}

    def __str__(self) -> str:
        hints = (f"  {line}" for line in self.hint.splitlines() if line)
        message = self.shown or self.message
        return "\n".join([message if self.code == "interrupted" else f"error: {message}", *hints])


def failure(error: BaseException) -> Failure:
    """What to tell of an error that ended a command."""
    if isinstance(error, e.ZooError):
        code, shown = _code(type(error)), _shown(error)
        return Failure(code=code, message=error.message, hint=error.advice, shown=shown)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        notes = getattr(error.__cause__ or error, "__notes__", ())  # click raises its own from it
        return Failure(code="interrupted", message="interrupted", hint="\n".join(notes))
    if isinstance(error, click.ClickException):
        return Failure(code="usage", message=error.format_message(), hint=_usage(error))
    if isinstance(error, OSError) and error.errno == ENAMETOOLONG and error.filename:
        return Failure(code="os_error", message=_too_long(os.fsdecode(error.filename)))
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return Failure(code="os_error", message=f"{error.strerror or error}{where}")
    raise TypeError(f"not an error that ends a command: {error!r}")


def tell(failed: Failure) -> None:
    """Say on stderr what a command failed of."""
    for line in str(failed).splitlines():
        note(line)


def raise_last(errors: Sequence[e.ZooError]) -> None:
    """Tell of all errors alike, if there are any: the last one ends the command."""
    if not errors:
        return
    *failed, last = map(failure, errors)
    for each in failed:
        tell(replace(each, hint="") if each.hint == last.hint else each)  # a hint once
    raise errors[-1]


def codes() -> Iterator[tuple[str, int, str]]:
    """All codes, each with the exit status and what it means."""
    for kind in _kinds(e.ZooError):
        meaning = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        yield _code(kind), 1, meaning.replace("``", "`")
    yield "os_error", 1, "The operating system refuses what a command needs."
    yield "usage", STATUS["usage"], "A command line that is not understood."
    yield "interrupted", STATUS["interrupted"], "Ctrl-C, or the answer was no."


def _kinds(kind: type[e.ZooError]) -> Iterator[type[e.ZooError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == e.__name__:
            yield from _kinds(below)


def _code(kind: type[e.ZooError]) -> str:
    """The name of the error's class, in snake case; of one that is not ours, the nearest above."""
    ours = next(each for each in kind.__mro__ if each.__module__ == e.__name__)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", ours.__name__).lower()


def _usage(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{context.command_path} --help" if context else ""


def _too_long(path: str) -> str:
    """What is wrong with a path that no file can have."""
    longest = max(Path(path).parts, key=len)
    size, most, what = len(os.fsencode(longest)), 255, "name"
    if size <= most:
        size, most, what = len(os.fsencode(path)), 4095, "path"
    problem = f"'{path[:40]}…' cannot be a file or folder"
    return f"{problem}: a {what} has at most {most} bytes, and this one {size}"


def _shown(error: e.ZooError) -> str:
    if not isinstance(error, e.InvalidData):
        return ""
    shown, more = error.problems[:10], len(error.problems) - 10
    listed = "\n".join(f"  - {problem}" for problem in shown)
    return f"{error.where} cannot be used:\n{listed}" + (
        f"\n  - and {more} more" if more > 0 else ""
    )
