"""The program ``zoo`` in this process, and as another user of this machine."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from zoo_cli.main import main

__all__ = ["Said", "as_user", "zoo"]


@dataclass(frozen=True)
class Said:
    """What a command line left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed as data."""
        return json.loads(self.out)

    def failed(self, *parts: str) -> bool:
        """Whether it failed in lines of its own, and named all ``parts``."""
        clean = not any(word in self.err for word in ("Traceback", "Warning"))
        return (
            clean
            and self.code == 1
            and self.err.startswith("error: ")
            and all(part in self.err for part in parts)
        )

    def refused(self, *parts: str) -> Said:
        """See that it failed as a command does, and said all of ``parts``; the same."""
        assert self.code == 1, self
        assert "error: " in self.err
        assert "Traceback" not in self.err
        for part in parts:
            assert part in self.err, self
        return self

    def done(self) -> Said:
        """See that it did what was asked; the same."""
        assert self.code == 0, self
        return self


def zoo(*arguments: object) -> Said:
    """Run ``zoo``; an exception that it lets through fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return Said(left.value.code, out.getvalue(), err.getvalue())


def as_user(uid: int, group: int, work: Callable[[], Any], *, umask: int = 0o022) -> Any:
    """Do ``work`` as another user, in a process that ends with it; what it returns.

    What it imports must be imported already: that user may not read where it lies.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            os.setgroups([group])
            os.setgid(uid)
            os.setuid(uid)
            os.umask(umask)
            answer: tuple[Any, str] = work(), ""
        except BaseException as error:  # noqa: BLE001 - told in the other process
            answer = None, repr(error)
        with os.fdopen(writer, "wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        found, problem = pickle.load(file)
    os.waitpid(child, 0)
    assert not problem, problem
    return found
