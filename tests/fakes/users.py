"""Other users of this machine: functions that are run as one of them."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from zoo_cli.main import main

__all__ = ["TEAM", "Done", "User"]

T = TypeVar("T")
TEAM = 61_000
"""A group that the users of a team are in, beside their own."""


@dataclass(frozen=True)
class Done:
    """What a command line left."""

    code: int
    text: str


@dataclass(frozen=True)
class User:
    """A user with a home.

    Attributes:
        id: Of the user, and of the group that is the user's own.
        home: Belongs to the user.
        umask: What the user's processes leave out of the modes of files.
        groups: That the user is in besides.
    """

    id: int
    home: Path
    umask: int = 0o022
    groups: Sequence[int] = (TEAM,)

    def do(self, work: Callable[[], T]) -> T:
        """Do ``work`` as this user, in a process of its own that begins where this one is."""
        reads, writes = os.pipe()
        pid = os.fork()
        if not pid:
            with os.fdopen(writes, "wb") as out:
                out.write(pickle.dumps(self._tried(work)))
            os._exit(0)
        os.close(writes)
        with os.fdopen(reads, "rb") as answer:
            data = answer.read()
        os.waitpid(pid, 0)
        result, error = pickle.loads(data)
        assert not error, error
        return result  # type: ignore[no-any-return]

    def zoo(self, *lines: Sequence[object]) -> list[Done]:
        """Run command lines in the user's zoo, one after another."""
        return self.do(lambda: [_command(("--home", self.home, *line)) for line in lines])

    def _tried(self, work: Callable[[], Any]) -> tuple[Any, str]:
        try:
            os.setgroups(list(self.groups))
            os.setresgid(self.id, self.id, self.id)
            os.setresuid(self.id, self.id, self.id)
            os.umask(self.umask)
            os.environ["HOME"] = str(self.home)
            os.environ["ZOO_AUTHOR"] = f"user{self.id}"
            os.chdir(self.home)
            return work(), ""
        except BaseException:  # noqa: BLE001 - the test tells of it
            return None, traceback.format_exc()


def _command(line: Sequence[object]) -> Done:
    text = io.StringIO()
    with (
        contextlib.redirect_stdout(text),
        contextlib.redirect_stderr(text),
        pytest.raises(SystemExit) as left,
    ):
        main([str(argument) for argument in line])
    return Done(int(str(left.value.code)), text.getvalue())
