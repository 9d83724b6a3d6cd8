"""The server is killed at each of its writes: what it has acknowledged is there, whatever it was at
is done or is not, and asking again completes it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.killed import IN_PARTS, STORIES

from zoo.serve.who.accounts import Accounts
from zoo.workspace import Workspace

TESTS = Path(__file__).parent.parent
KILLED = -9


class Warm:
    """The warm process, seen from here."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **asked: object) -> Any:
        """How a server ended, and what it said."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def look(self) -> Any:
        """What a server answers now."""
        told = self.ask(look=True)
        assert told["status"] == 0
        return json.loads(told["said"][0])


@contextmanager
def warm(root: Path, story: str, token: str) -> Iterator[Warm]:
    command = [sys.executable, "-m", "fakes.killed", str(root), story, token]
    env = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Warm(process)


@pytest.mark.long
@pytest.mark.parametrize("story", STORIES)
def test_killed_at_each_write(story: str, tmp_path: Path, told: Callable[[str], None]) -> None:
    """``KILL_EVERY=1`` kills at every write, and not at one of 23."""
    root, template = tmp_path / "zoo", tmp_path / "template"
    with closing(Workspace.create(template)) as made, closing(Accounts.of(made)) as who:
        who.add("ann")
        token = str(who.new_token("ann", "x", "write")[1])
    end = len(STORIES[story])
    with warm(root, story, token) as server:

        def fresh() -> None:
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(template, root)

        states = []
        for stop in range(end + 1):
            fresh()
            done = server.ask(begin=0, end=stop, at=0)
            assert done["status"] == 0
            states.append(server.look())
        writes = -int(done["said"][-1])
        every = int(os.environ.get("KILL_EVERY", "23"))
        kills, planned = 0, range(1, writes + 1, every)
        for at in planned:
            fresh()
            killed = server.ask(begin=0, end=end, at=at)
            if killed["status"] == 0:  # what goes on beside it has written less this time
                continue
            assert killed["status"] == KILLED
            kills += 1
            count = len(killed["said"])
            whole = server.look() in states[count : count + 2]
            assert whole or STORIES[story][count] in IN_PARTS, f"killed at write {at}"
            again = server.ask(begin=count, end=end, at=0)
            assert again["status"] == 0, f"killed at write {at}"
            assert server.look() == states[-1], f"killed at write {at}"
    assert kills > 0.8 * len(planned)
    told(f"kills | server, {story} | {kills} at {writes} writes")
