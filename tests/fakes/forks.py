"""Processes that cost a fork each: one warm process, and a child of it for every piece of work.

Work is a function of `fakes.work`, called by name with plain arguments; what it returns must be
plain data, too. Runs as ``python -m fakes.forks`` on the other side of a pipe.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

__all__ = ["Ended", "Forks"]

TESTS = Path(__file__).parent.parent
KILLED = -signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended.

    Attributes:
        status: Its exit status; negative is a signal.
        seconds: How long it ran.
        said: What the work returned; None if it did not get so far.
    """

    status: int
    seconds: float
    said: Any


class Forks:
    """The warm process, seen from the test."""

    def __enter__(self) -> Self:
        env = {**os.environ, "PYTHONPATH": str(TESTS), "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fakes.forks"],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate(timeout=60)

    def run(self, work: str, *args: Any, kill_after: float | None = None) -> Ended:
        """Do one piece of work; with ``kill_after``, kill it after that many seconds."""
        return self._ask([(work, args)], kill_after)[0]

    def together(self, *calls: tuple[Any, ...]) -> list[Ended]:
        """Do all at once, each in a process of its own; they begin when the last is ready."""
        return self._ask([(work, args) for work, *args in calls], None)

    def _ask(self, calls: list[tuple[str, Any]], kill_after: float | None) -> list[Ended]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"calls": calls, "kill_after": kill_after}) + "\n")
        self.process.stdin.flush()
        return [Ended(**ended) for ended in json.loads(self.process.stdout.readline())]


def serve() -> None:
    """The warm process: one line asks, one line answers."""
    from fakes import work

    for line in sys.stdin:
        asked = json.loads(line)
        go, start = os.pipe()  # a child begins when it can read
        children = [_fork(getattr(work, name), args, go, start) for name, args in asked["calls"]]
        os.close(go)
        began = time.perf_counter()
        os.write(start, b"x" * len(children))
        if asked["kill_after"] is not None:
            time.sleep(asked["kill_after"])
            for child, _ in children:
                os.kill(child, signal.SIGKILL)
        answers = [_wait(child, answer, began) for child, answer in children]
        os.close(start)
        sys.stdout.write(json.dumps(answers) + "\n")
        sys.stdout.flush()


def _fork(work: Any, args: list[Any], go: int, start: int) -> tuple[int, int]:
    answer, say = os.pipe()
    child = os.fork()
    if child:
        os.close(say)
        return child, answer
    status = 1
    try:
        os.close(start)
        os.read(go, 1)
        os.write(say, json.dumps(work(*args)).encode())
        status = 0
    except BaseException:  # noqa: BLE001 - told, and the process ends here in any case
        traceback.print_exc()
    finally:
        os._exit(status)


def _wait(child: int, answer: int, began: float) -> dict[str, Any]:
    with os.fdopen(answer, "rb") as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seconds = time.perf_counter() - began
    return {"status": status, "seconds": seconds, "said": json.loads(said) if said else None}


if __name__ == "__main__":
    serve()
