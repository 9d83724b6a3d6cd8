"""Run the program, or Python, in a process that may take so much memory and time, and no more."""

from __future__ import annotations

import os
import resource
from functools import partial
from pathlib import Path
from subprocess import TimeoutExpired

from fakes import warm
from fakes.program import Said

__all__ = ["KILLED", "bounded", "bounded_python", "limit_memory"]

KILLED = -1


def bounded(*arguments: object, megabytes: int, seconds: int) -> Said:
    """``zoo ARGUMENTS`` with so many megabytes more than a process has that imported all it needs,
    and so many seconds of processor time.

    The code is `KILLED` where it had to be ended.
    """
    return bounded_python("-m", "zoo_cli", *arguments, megabytes=megabytes, seconds=seconds)


def bounded_python(*arguments: object, megabytes: int, seconds: int) -> Said:
    """The same for a command line of Python's."""
    most = _bytes_of(warm.server().pid) + megabytes * 1_000_000
    limits = {resource.RLIMIT_AS: most, resource.RLIMIT_CPU: seconds}
    try:
        done = warm.run(*arguments, preexec_fn=partial(_limit, limits))
    except TimeoutExpired:
        return Said(KILLED, "", "it waits")
    if done.returncode < 0:
        return Said(KILLED, done.stdout, f"ended with {done.returncode}")
    return Said(done.returncode, done.stdout, done.stderr)


def limit_memory(megabytes: int) -> None:
    """This process takes no more than so much beside what it has taken."""
    _limit({resource.RLIMIT_AS: _bytes_of(os.getpid()) + megabytes * 1_000_000})


def _bytes_of(pid: int) -> int:
    """The address space that a process has taken."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _limit(limits: dict[int, int]) -> None:
    for kind, most in limits.items():
        resource.setrlimit(kind, (most, most))
