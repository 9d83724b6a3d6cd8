"""A run goes on as long as the process that runs it lives, and no longer."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zoo.errors import Conflict
from zoo.lookup import alive as module
from zoo.lookup.alive import LOCK, SILENT, RunLock, alive, machine

HOLD = """
import os, sys, time
from pathlib import Path
from zoo.lookup.alive import RunLock, machine
lock = RunLock(Path(sys.argv[1]), machine())
if not sys.argv[2:] or not os.fork():
    sys.stdout.write(f"{os.getpid()}\\n")
    sys.stdout.flush()
time.sleep(600)
"""


@contextmanager
def holder(folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the run in ``folder``, killed at the end."""
    command = [sys.executable, "-c", HOLD, str(folder), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> int:
    assert process.stdout
    return int(process.stdout.readline())


def age(folder: Path) -> None:
    """Let more time go by than a run is silent."""
    old = time.time() - SILENT - 60
    os.utime(folder / LOCK, (old, old))


def test_who_is_killed_holds_nothing(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        said(process)
        age(tmp_path)
        assert alive(tmp_path, machine())
        assert alive(tmp_path, "elsewhere")
        with pytest.raises(Conflict, match=str(tmp_path / LOCK)):
            RunLock(tmp_path, machine())
    assert not alive(tmp_path, machine())
    lock = RunLock(tmp_path, machine())
    assert alive(tmp_path, machine())
    lock.release()
    assert not alive(tmp_path, machine())


def test_a_worker_that_outlives_it_holds_nothing(tmp_path: Path) -> None:
    with holder(tmp_path, "fork") as process:
        worker = said(process)
        assert alive(tmp_path, machine())
        process.kill()
        process.wait()
        try:
            os.kill(worker, 0)
            assert not alive(tmp_path, machine())
        finally:
            os.kill(worker, 9)


def test_on_another_machine_the_last_sign_decides(tmp_path: Path) -> None:
    RunLock(tmp_path, machine()).release()
    assert alive(tmp_path, "elsewhere")
    with pytest.raises(Conflict):
        RunLock(tmp_path, "elsewhere")
    age(tmp_path)
    assert not alive(tmp_path, "elsewhere")
    (tmp_path / LOCK).unlink()
    assert not alive(tmp_path, "elsewhere")


def test_where_there_are_no_locks_the_last_sign_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    RunLock(tmp_path, machine()).release()
    assert alive(tmp_path, machine())
    with pytest.raises(Conflict):
        RunLock(tmp_path, machine())
    age(tmp_path)
    assert not alive(tmp_path, machine())


def test_signs_of_life_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.01)
    lock = RunLock(tmp_path, machine())
    age(tmp_path)
    old, deadline = (tmp_path / LOCK).stat().st_mtime, time.monotonic() + 60
    while (tmp_path / LOCK).stat().st_mtime == old:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lock.release()
