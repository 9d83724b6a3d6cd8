"""zoo runs rm, and zoo prune --caches, as typed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.prepared import NET
from fakes.reported import make_run

import zoo
from zoo.errors import Conflict, InvalidOption
from zoo.lookup.alive import LOCK, SILENT, machine
from zoo.lookup.examples import EXAMPLES
from zoo.lookup.remove_runs import largest_runs
from zoo.lookup.runs import RUN, RUNS, STATE, Run

HOLD = """
import sys, time
from pathlib import Path
from zoo.lookup.alive import RunLock, machine
lock = RunLock(Path(sys.argv[1]), machine())
print("held", flush=True)
time.sleep(600)
"""
DONE, CUT, FAILED, GOING = range(1, 5)
TUNED = "team/digits"


def old(folder: Path, days: float = 10) -> None:
    """As if nothing was written in a folder lately."""
    at = time.time() - days * 24 * 60 * 60
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (at, at))


@contextmanager
def training(folder: Path) -> Iterator[None]:
    """While another process has the run in a folder."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"held\n"
            yield
        finally:
            process.kill()


@pytest.fixture
def runs(toy: Any) -> dict[int, Path]:
    """Folders of runs: one that made a checkpoint, one that can be resumed, and two more."""
    with zoo.open() as here:
        made = str(here.workspace.names.resolve(TUNED)[1])
    home, here_ = Path.cwd() / RUNS, {"machine": machine()}
    found = [
        make_run(home, TUNED, DONE, status="done", result={"manifest": made}, **here_),
        make_run(home, "team/new", CUT, **here_),
        make_run(home, "team/bad", FAILED, status="failed", **here_),
        make_run(home, "team/live", GOING, status="running", **here_),
    ]
    (found[0].folder / EXAMPLES).write_text("{}")
    (found[1].folder / STATE).write_bytes(b"x" * 5000)
    (found[2].folder / "sub").mkdir()
    (found[2].folder / "sub/events").write_bytes(b"x" * 700)
    return {number: run.folder for number, run in enumerate(found, 1)}


def test_a_plan_then_it_is_gone(toy: Any, runs: dict[int, Path]) -> None:
    ident = runs[FAILED].name
    line = ("runs", "rm", ident)
    shown = toy(*line).done()
    assert f"{ident}  failed  team/bad" in shown.out
    assert "nothing was removed; --yes removes" in shown.err
    assert "nothing was removed" in toy(*line, "--dry-run", "--yes").done().err
    assert toy(*line, "--json").done().json["removed"] is False
    assert runs[FAILED].is_dir()
    size = sum(path.stat().st_size for path in runs[FAILED].rglob("*") if path.is_file())
    done = toy(*line, "--yes", "--json").done().json
    assert (done["removed"], done["bytes"], [run["id"] for run in done["runs"]]) == (
        True, size, [ident],
    )  # fmt: skip
    assert not runs[FAILED].exists()
    assert ident not in toy("runs").done().out
    toy(*line).refused("unknown run")


def test_a_run_that_trains_elsewhere_is_never_removed(toy: Any, runs: dict[int, Path]) -> None:
    live = runs[GOING]
    every = ("--resumable", "--results", "--yes")
    with training(live):
        old(live)
        toy("runs", "rm", live.name, *every).refused(f"the run {live.name} is running")
        done = toy("runs", "rm", "--older-than", 0, *every).done()
        assert "1 run left alone: running" in done.err
        assert [each.name for each in (Path.cwd() / RUNS).iterdir()] == [live.name]
        assert Run.read(live).status == "running"
    assert "removed 1 run" in toy("runs", "rm", live.name, *every).done().out
    assert not live.exists()


def test_links_and_folders_of_others_stay(toy: Any, runs: dict[int, Path], tmp_path: Path) -> None:
    home, mine = Path.cwd() / RUNS, tmp_path / "mine"
    runs[FAILED].rename(mine)
    linked = home / "20260101-000000-000000"
    linked.symlink_to(mine)
    shutil.copytree(runs[CUT], home / "notes")
    for name in (linked.name, "notes"):
        toy("runs", "rm", name, "--resumable", "--yes").refused("somebody's own")
    toy("runs", "rm", "--older-than", 0, "--resumable", "--yes").done()
    assert (mine / RUN).is_file()
    assert not (mine / LOCK).exists()
    assert (home / "notes" / STATE).is_file()


@pytest.mark.parametrize("lock", ["link", "folder"])
def test_a_lock_that_is_none_is_nobody_s(
    toy: Any, runs: dict[int, Path], tmp_path: Path, lock: str
) -> None:
    if lock == "link":
        (runs[FAILED] / LOCK).symlink_to(tmp_path / "made")
    else:
        (runs[FAILED] / LOCK).mkdir()
    toy("runs", "rm", runs[FAILED].name, "--yes").done()
    assert not runs[FAILED].exists()
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "damage", [{"provenance": []}, {"result": "x"}, {"status": []}, {"save": 1}]
)
def test_a_damaged_one_keeps_no_other_from_being_removed(
    toy: Any, runs: dict[int, Path], damage: dict[str, Any]
) -> None:
    file = runs[CUT] / RUN
    file.write_text(json.dumps({**json.loads(file.read_text()), **damage}))
    old(runs[CUT])
    with zoo.open() as here:
        found = {each.id for each in largest_runs(here.workspace, 9)}
    assert found == {each.name for each in runs.values()}
    toy("runs", "rm", runs[FAILED].name, "--yes").done()
    assert not runs[FAILED].exists()
    assert "1 run" in toy("runs", "rm", "--state", "damaged", "--yes").done().out
    assert not runs[CUT].exists()


def test_what_may_not_be_deleted_stays_whole(
    toy: Any, runs: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a sticky folder: its owner lets others write in the run, but not take it away."""

    def refuses(path: Path, _: Path) -> Path:
        raise PermissionError(1, "Operation not permitted", str(path))

    before = sorted(runs[FAILED].rglob("*"))
    monkeypatch.setattr(Path, "rename", refuses)
    toy("runs", "rm", runs[FAILED].name, "--yes").refused("cannot be")
    assert {*before} <= {*runs[FAILED].rglob("*")}


def test_what_a_killed_one_has_left_goes_with_the_next(toy: Any, runs: dict[int, Path]) -> None:
    left = Path.cwd() / RUNS / f".removed-{runs[CUT].name}"
    runs[CUT].rename(left)
    toy("runs", "rm", runs[FAILED].name, "--yes").done()
    assert not left.exists()


def test_one_that_is_named_and_does_not_fit_is_told(toy: Any, runs: dict[int, Path]) -> None:
    named = ("runs", "rm", runs[FAILED].name, runs[CUT].name, "--resumable", "--yes")
    for fits in (("--state", "failed"), ("--older-than", 5)):
        old(runs[FAILED])
        toy(*named, *fits).refused(f"the run {runs[CUT].name} is interrupted, and was written in")
    assert runs[FAILED].is_dir()
    assert "2 runs" in toy(*named, "--state", "failed", "--state", "interrupted").done().out


def test_what_is_lost_is_told_of_each_run(toy: Any, runs: dict[int, Path]) -> None:
    """Also of several that are saved as one name."""
    other = shutil.copytree(runs[DONE], Path.cwd() / RUNS / "20260102-000000-000000")
    told = toy("runs", "rm", "--older-than", 0, "--results", "--dry-run").done().err
    assert f"{TUNED} loses with {runs[DONE].name}: example images" in told
    assert f"{TUNED} loses with {other.name}: example images" in told


def test_without_an_age_no_clock_counts(toy: Any, runs: dict[int, Path]) -> None:
    old(runs[FAILED], days=-1)  # as a shared disk may have it, whose clock is ahead
    assert "0 runs" in toy("runs", "rm", "--state", "failed", "--older-than", 0).done().out
    toy("runs", "rm", runs[FAILED].name, "--yes").done()
    assert not runs[FAILED].exists()


@pytest.mark.long
def test_a_real_fine_tune_is_never_removed(small: Any, few: Path) -> None:
    tune = ["finetune", NET, "--data", few, "--image-size", 32, "--epochs", 500, "--save", "a/b"]
    command = [sys.executable, "-m", "zoo_cli", *map(str, tune)]
    line = ("runs", "rm", "--older-than", 0, "--resumable", "--results", "--yes")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            ends = time.monotonic() + 120
            while not (found := [*Path(RUNS).glob(f"*/{STATE}")]):
                assert process.poll() is None
                assert time.monotonic() < ends
                time.sleep(0.1)
            assert "1 run left alone: running" in small(*line).done().err
            assert process.poll() is None
        finally:
            process.kill()
    folder = found[0].parent
    small("runs", "rm", folder.name, "--yes").refused("can be resumed")
    assert "removed 1 run" in small(*line).done().out
    assert not folder.exists()


def test_one_that_has_ended_in_another_way_since_the_plan_stays(
    toy: Any, runs: dict[int, Path]
) -> None:
    with zoo.open() as here:
        plan = here.plan_remove_runs(states=["failed"])
        replace(Run.read(runs[FAILED]), status="done").write()
        assert (len(plan.runs), here.remove_runs(plan).runs) == (1, ())
    assert (runs[FAILED] / RUN).is_file()


def test_one_that_is_resumed_after_the_plan_stays(toy: Any, runs: dict[int, Path]) -> None:
    with zoo.open() as here:
        plan = here.plan_remove_runs(states=["failed", "interrupted"], resumable=True)
        assert {run.id for run in plan.runs} == {runs[n].name for n in (CUT, FAILED, GOING)}
        with training(runs[CUT]):
            gone = here.remove_runs(plan)
    assert {run.id for run in gone.runs} == {runs[n].name for n in (FAILED, GOING)}
    assert (runs[CUT] / STATE).is_file()


def test_one_on_a_machine_that_is_not_silent_stays(toy: Any, runs: dict[int, Path]) -> None:
    elsewhere = make_run(Path.cwd() / RUNS, number=9, status="running", machine="another").folder
    (elsewhere / LOCK).touch()
    toy("runs", "rm", elsewhere.name, "--yes").refused("is running")
    at = time.time() - SILENT - 60
    os.utime(elsewhere / LOCK, (at, at))
    toy("runs", "rm", elsewhere.name, "--yes").done()


def test_what_somebody_may_need_goes_on_a_clear_word(toy: Any, runs: dict[int, Path]) -> None:
    cut, done = runs[CUT].name, runs[DONE].name
    toy("runs", "rm", cut, "--results", "--yes").refused("can be resumed", "--resumable")
    toy("runs", "rm", done, "--resumable", "--yes").refused(
        f"{TUNED} would lose: example images", "needed by a checkpoint here", "--results"
    )
    toy("runs", "rm", cut, done, "--resumable", "--yes").refused("--results")
    spared = toy("runs", "rm", "--state", "done", "--yes").done()
    assert "1 run left alone: needed by a checkpoint here (--results" in spared.err
    assert toy("runs", "rm", "--state", "done", "--json").json["spared"][0]["id"] == done
    assert runs[CUT].is_dir() is runs[DONE].is_dir() is True
    both = toy("runs", "rm", cut, done, "--resumable", "--results", "--yes").done()
    assert f"{TUNED} loses with {runs[DONE].name}: example images" in both.err
    assert not runs[CUT].exists()
    assert not runs[DONE].exists()
    toy("show", TUNED).done()


def test_of_a_checkpoint_that_is_gone_it_is_free(toy: Any, runs: dict[int, Path]) -> None:
    toy("delete", TUNED).done()
    toy("runs", "rm", runs[DONE].name).refused("--results")  # it can be restored
    toy("prune", "--keep", 0, "--grace", 0, "--yes").done()
    toy("runs", "rm", runs[DONE].name, "--yes").done()


def test_by_age_and_state(toy: Any, runs: dict[int, Path]) -> None:
    old(runs[FAILED], days=10)
    line = ("runs", "rm", "--resumable", "--json", "--older-than")
    assert [run["id"] for run in toy(*line, 9).json["runs"]] == [runs[FAILED].name]
    assert toy(*line, 11).json["runs"] == []
    assert toy(*line, 9, "--state", "interrupted").json["runs"] == []
    toy("runs", "rm", "--yes").refused("which runs?")
    with zoo.open() as here, pytest.raises(InvalidOption, match="is no state"):
        here.plan_remove_runs(states=["lost"])  # type: ignore[list-item]
    with zoo.open() as here, pytest.raises(Conflict, match="can be resumed"):
        here.plan_remove_runs(runs[CUT].name)


def test_one_that_cannot_be_read_and_what_is_no_run(toy: Any, runs: dict[int, Path]) -> None:
    home = Path.cwd() / RUNS
    damaged, own = home / "20260101-000000-000007", home / "notes"
    for folder in (damaged, own):
        folder.mkdir()
        (folder / "x.bin").write_bytes(b"x" * 9)
    (home / "20260101-000000-000008").symlink_to(own)
    line = ("runs", "rm", "--state", "damaged", "--yes")
    assert "left alone: running" not in toy(*line).done().err
    assert damaged.is_dir(), "it may be new"
    old(damaged)
    assert "removed 1 run, 9 B" in toy(*line).done().out
    toy("runs", "rm", "--older-than", 0, "--resumable", "--results", "--yes").done()
    assert sorted(each.name for each in home.iterdir()) == ["20260101-000000-000008", "notes"]
    assert (own / "x.bin").is_file()


def cache_in(root: Path, letter: str, days: float = 0) -> Path:
    """A cache of training as a run leaves it."""
    folder = root / "cache/crossings" / (letter * 64)
    folder.mkdir(parents=True)
    (folder / "0.bin").write_bytes(letter.encode() * 1000)
    (folder / "description.json").write_text("{}")
    old(folder, days)
    return folder


def test_caches_go_if_that_is_asked_for(toy: Any) -> None:
    root = Path.cwd()
    unused, used = cache_in(root, "a", days=40), cache_in(root, "b", days=3)
    (root / "cache/ranking").mkdir()
    (root / "cache/ranking/x.json").write_text("{}")
    (root / "cache/crossings/mine").mkdir()
    copies, reading = (root / "cache/images" / f"{each * 32}-{each * 16}" for each in "ef")
    for folder in (copies, reading):
        folder.mkdir(parents=True)
        (folder / "images.tar").write_bytes(b"x" * 500)
    old(copies, 2)
    (root / "cache/images/z.json").write_text("{}")
    writing = root / "cache/crossings/.filling-00112233"
    writing.mkdir()
    (writing / "0.bin").write_bytes(b"x")
    assert "cache" not in toy("prune").done().out
    shown = toy("prune", "--caches", 30).done()
    assert "2 files, 1.0 kB: a cache: training computes it again" in shown.out
    assert unused.is_dir()
    done = toy("prune", "--caches", 30, "--yes", "--json").done().json
    assert (done["bytes"], len(done["items"])) == (1002, 2)
    assert (unused.exists(), used.is_dir()) == (False, True)
    toy("prune", "--caches", 0, "--yes").done()
    assert not used.exists()
    assert (copies.exists(), (reading / "images.tar").is_file()) == (False, True)
    left = {path.name for path in (root / "cache").rglob("*")}
    left -= {"images", "z.json", reading.name, "images.tar"}
    assert left == {"crossings", "ranking", "x.json", "mine", ".filling-00112233", "0.bin"}
    wrong = toy("prune", root / "there", "--caches", 0)
    assert (wrong.code, "a remote has none" in wrong.err) == (2, True)


def test_a_cache_that_was_used_since_the_plan_stays(toy: Any) -> None:
    cache = cache_in(Path.cwd(), "a", days=40)
    with zoo.open() as here:
        plan = here.plan_prune(cache_days=30)
        assert len(plan.doomed) == 2
        cache.touch()
        assert here.prune(plan, cache_days=30).doomed == ()
    assert cache.is_dir()


def test_a_cache_that_was_not_shown_stays(toy: Any) -> None:
    shown = cache_in(Path.cwd(), "a", days=40)
    with zoo.open() as here:
        plan = here.plan_prune(cache_days=30)
        other = cache_in(Path.cwd(), "b", days=40)
        assert len(here.prune(plan, cache_days=30).doomed) == 2
    assert (shown.exists(), other.is_dir()) == (False, True)
