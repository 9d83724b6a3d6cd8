"""Signs of uploads and prunes: those that count, and those of processes that have ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zoo.domain.owner import Owner
from zoo.store import Store, turn

TUNED = "team/digits"
DAY = 86400
Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stops a command does so at once."""
    monkeypatch.setattr(turn, "PATIENCE", 0.0)
    monkeypatch.setattr(turn, "UPLOAD_PATIENCE", 0.0)


@pytest.fixture
def team(run: Run, tmp_path: Path) -> Path:
    assert run("push", TUNED, "--to", tmp_path / "team").code == 0
    return tmp_path / "team"


@contextmanager
def other(enter: Callable[[], AbstractContextManager[None]]) -> Iterator[int]:
    """A process that has entered what ``enter`` gives and does nothing."""
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        with enter():
            os.write(writes, b"x")
            signal.pause()
    os.read(reads, 1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reads)
        os.close(writes)


def signs(root: Path) -> list[Path]:
    return [*(root / "tmp").glob("prune*"), *(root / "tmp/uploads").glob("*")]


def plant(root: Path, name: str, age: float, **changed: Any) -> Path:
    """The sign of a process on another machine."""
    path = root / "tmp" / name
    path.parent.mkdir(exist_ok=True)
    owner = replace(Owner.here("ann"), host="far", machine="another", **changed)
    path.write_bytes(owner.to_bytes())
    os.utime(path, (time.time() - age, time.time() - age))
    return path


WRITING = (("tag", TUNED, "team/new"), ("push", TUNED, "--to"))


@pytest.mark.parametrize("command", WRITING)
def test_a_killed_prune_stops_nobody(
    run: Run, home: Path, team: Path, command: tuple[str, ...]
) -> None:
    root = team if command[-1] == "--to" else home
    line = (*command, *([team] if root == team else []))
    with other(Store.open(root).pruning):
        (sign,) = signs(root)
        done = run(*line)
        assert done.code == 1
        for part in (str(sign), "a prune of this store is under way by tester on", "process",
                     ", since 20", "for 10 minutes counts as dead"):  # fmt: skip
            assert part in done.err
    assert sign.exists()
    assert run(*line).code == 0


def test_a_killed_upload_stops_no_prune(run: Run, team: Path) -> None:
    prune = ("prune", team, "--keep", "0", "--grace", "0", "--yes")
    half = team / "tmp" / f"part-{'0' * 64}-{'0' * 32}"
    half.write_text("half")
    os.utime(half, (0, 0))
    with other(Store.open(team).upload):
        (sign,) = signs(team)
        done = run(*prune)
        assert (done.code, str(sign) in done.err) == (1, True)
        assert half.exists()
    assert run(*prune).code == 0
    assert not half.exists()


def test_on_another_machine_a_sign_counts_for_ten_minutes(run: Run, team: Path) -> None:
    push = ("push", TUNED, "--to", team)
    sign = plant(team, "prune-1", 590)
    done = run(*push)
    assert done.code == 1
    assert "ann on far" in done.err
    assert "10 minutes" in done.err
    assert str(sign) in done.err
    plant(team, "prune-1", 610)
    assert run(*push).code == 0


@pytest.mark.parametrize(
    "ahead",
    [
        DAY,
        pytest.param(400 * DAY, marks=pytest.mark.long),
        pytest.param(2**33, marks=pytest.mark.long),
    ],
)
def test_a_sign_of_the_future_stops_nobody(run: Run, team: Path, ahead: float) -> None:
    plant(team, "prune-1", -ahead)
    assert run("push", TUNED, "--to", team).code == 0


def test_ages_are_by_the_clock_that_dates_the_files(
    run: Run, team: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a file server, say: this machine's may be wrong."""
    plant(team, "prune-1", 10)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + DAY)
    assert run("push", TUNED, "--to", team).code == 1


def test_whatever_a_sign_holds_its_age_decides(run: Run, team: Path) -> None:
    for data in (b"", b"\0\xff", b"[]", b'{"pid": true}', b"[" * 5000, b'{"pid": -1}'):
        (team / "tmp/prune-1").write_bytes(data)
        assert run("push", TUNED, "--to", team).code == 1
    (team / "tmp/prune-1").unlink()
    os.mkfifo(team / "tmp/prune-1")
    (team / "tmp/prune-2").symlink_to(team / "zoo.json")
    assert run("push", TUNED, "--to", team).code == 0


def test_a_process_id_that_came_again_is_another_process(run: Run, team: Path) -> None:
    here = Owner.here("ann")
    if not (here.machine and here.born):
        pytest.skip("this kernel does not say when a process was started")
    sign = team / "tmp/prune-1"
    sign.write_bytes(here.to_bytes())
    assert run("push", TUNED, "--to", team).code == 1
    sign.write_bytes(replace(here, born="1").to_bytes())
    assert run("push", TUNED, "--to", team).code == 0


@pytest.mark.parametrize("announce", [Store.upload, Store.pruning])
def test_a_sign_is_renewed_each_minute_while_its_process_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, announce: Callable[..., Any]
) -> None:
    waits = set()

    class Quick(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.add(timeout)
            return super().wait(0.001)

    clock = SimpleNamespace(Event=Quick, Thread=threading.Thread)
    monkeypatch.setattr("zoo.domain.owner.threading", clock)
    with announce(Store.create(tmp_path)):
        (sign,) = signs(tmp_path)
        os.utime(sign, (0, 0))
        end = time.monotonic() + 10
        while sign.stat().st_mtime < 1 and time.monotonic() < end:
            time.sleep(0.001)
        assert sign.stat().st_mtime > 1
    assert waits == {60}


def test_a_killed_command_leaves_nothing_that_a_prune_does_not_delete(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as ``remote add``, which writes beside the store."""
    before = {path.name for path in home.iterdir()} | {"remotes.json"}
    pid = os.fork()
    if not pid:
        monkeypatch.setattr(os, "rename", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        run("remote", "add", "team", "/mnt/team")
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert {path.name for path in home.iterdir()} <= before
    (left,) = (path for path in (home / "tmp").iterdir() if path.is_file())
    assert run("prune", "--grace", "0", "--yes").code == 0
    assert not left.exists()


@pytest.mark.parametrize(("age", "code"), [(3600.0, 1), (25 * 3600.0, 0), (-25 * 3600.0, 0)])
def test_a_sign_of_an_earlier_version_counts_for_a_day(
    run: Run, team: Path, age: float, code: int
) -> None:
    """It is empty and set once: an upload may take longer than the signs of today are silent."""
    sign = team / "tmp" / "uploads" / ("ab" * 16)
    sign.parent.mkdir(parents=True, exist_ok=True)
    sign.touch()
    os.utime(sign, (time.time() - age, time.time() - age))
    done = run("prune", team, "--keep", "0", "--grace", "0", "--yes")
    assert (done.code, str(sign) in done.err) == (code, bool(code))
