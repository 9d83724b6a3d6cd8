"""zoo delete and zoo prune, as typed."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.clock import earlier
from fakes.sampled import sampled

import zoo
from zoo.domain.manifest import Parent
from zoo.lookup.alive import RunLock, machine

TUNED = "team/digits"


def test_a_deleted_name_is_gone_and_can_be_restored(run: Any, home: Path) -> None:
    digest = run("show", TUNED, "--json").json["manifest"]
    again = f"restore it: zoo delete --restore {TUNED}\n"
    assert again in run("delete", TUNED).out
    gone = run("predict", TUNED, "x.png")
    assert (gone.code, again in gone.err) == (1, True)
    assert TUNED not in {row["name"] for row in run("search", "--pulled", "--json").json}
    run("delete", "--restore", TUNED)
    assert run("show", TUNED, "--json").json["manifest"] == digest
    history = run("log", TUNED, "--json").json["history"]
    assert [move.get("deleted", False) for move in history] == [False, True, False]


def test_a_prune_shows_first_and_deletes_when_told(run: Any, home: Path) -> None:
    digest = run("show", TUNED, "--json").json["manifest"]
    with earlier():
        run("delete", TUNED)
    line = ("prune", "--keep", "0", "--grace", "0")
    shown = run(*line)
    assert (shown.code, "nothing was deleted" in shown.err) == (0, True)
    assert ": no checkpoint needs it\n" in shown.out
    planned = run(*line, "--json").json
    assert (planned["deleted"], planned["bytes"] > 1_000_000) == (False, True)
    done = run(*line, "--yes", "--json").json
    assert (done["deleted"], done["items"]) == (True, planned["items"])
    assert run("verify").code == 0
    assert run(*line, "--json").json["items"] == []
    gone = run("show", TUNED)
    assert (gone.code, "--restore" in gone.err) == (1, False)
    for digits in (digest, digest[7:19]):
        run("show", digits).refused(f"it was {TUNED} once, and was pruned since")
    assert "pruned" not in run("show", "0" * 12).err


def test_a_dry_run_shows_and_changes_nothing(
    run: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks nobody, even where somebody is there."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert f"would delete {TUNED}: " in run("delete", TUNED, "--dry-run").done().out
    assert run("show", TUNED).code == 0
    run("push", TUNED, "--to", tmp_path / "team").done()
    there = run("delete", TUNED, "--from", tmp_path / "team", "--dry-run").done()
    assert f"would delete {TUNED} at {tmp_path / 'team'}: " in there.out
    with earlier():
        run("delete", TUNED).done()
    line = ("prune", "--keep", "0", "--grace", "0")
    shown = run(*line, "--dry-run").done()
    assert ": no checkpoint needs it\n" in shown.out
    assert "nothing was deleted" in shown.err
    assert run(*line, "--dry-run", "--json").json["deleted"] is False
    assert run(*line, "--json").json["items"]
    assert run("repack", tmp_path / "team", "--dry-run").done().out == "nothing to repack\n"
    assert run(*line, "--dry-run", "--yes").done().err.endswith("nothing was deleted\n")
    assert run(*line, "--json").json["items"]


def test_a_prune_says_which_checkpoints_go(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    values = tensors()
    values["fc.bias"] += 1
    known = {"recipe": {"task": "classification"}, "metrics": {"accuracy": 0.08}}
    with earlier(seconds=9), zoo.open() as here:
        add_checkpoint(here.workspace, "p/x", values, **known)
        toy("tag", "p/x", "p/y").done()
        toy("delete", "p/y").done()
    monkeypatch.setenv("ZOO_AUTHOR", "ana\x1b[31m")
    with earlier(seconds=6):
        toy("delete", "p/x").done()
    monkeypatch.setenv("ZOO_AUTHOR", "ben")
    with earlier(seconds=3):
        toy("tag", "team/base", TUNED, "--force").done()
    line = ("prune", "--keep", 0, "--grace", 0)
    shown = toy(*line, "--dry-run").done()
    tuned, x, rest, total = shown.out.splitlines()
    assert x.startswith("p/x (also p/y), deleted today by ana"), x
    assert x.endswith(", accuracy 0.0800, 66.3 kB")
    assert tuned == f"{TUNED}, moved on today by ben, 66.3 kB"
    assert rest.endswith(": no checkpoint needs it")
    assert total.endswith(" to delete")
    assert "\x1b" not in shown.out
    every = toy(*line, "--dry-run", "--all").done().out
    assert every.count("blake3:") > 3
    told = toy(*line, "--json").json["checkpoints"]
    assert [each["names"] for each in told] == [[TUNED], ["p/x", "p/y"]]
    assert next((each["by"], each["deleted"]) for each in told) == ("ben", False)
    done = toy(*line, "--yes", "--json").done().json
    assert done["checkpoints"] == told
    assert toy(*line, "--json").json["checkpoints"] == []


def test_a_prune_says_what_derives_from_what_goes(toy: Any) -> None:
    with zoo.open() as here:
        _, base = here.workspace.names.resolve("team/base")
        values = {name: value + 1 for name, value in tensors().items()}
        parent = Parent(manifest=base, relation="finetune", ref="team/base")
        add_checkpoint(here.workspace, "team/child", values, parents=(parent,))
    with earlier(seconds=9):
        toy("delete", "team/base").done()
    said = toy("prune", "--keep", 0, "--grace", 0, "--dry-run").done().err
    assert "team/child, team/digits derive from team/base: zoo log names it" in " ".join(
        said.split()
    )


def test_a_dry_run_writes_to_no_folder(toy: Any) -> None:
    """It reads the clock of the file system off a file that has no name."""

    def dates() -> dict[Path, int]:
        folders = [path for path in Path.cwd().rglob("*") if path.is_dir()]
        return {path: path.stat().st_mtime_ns for path in folders}

    before = dates()
    toy("delete", "team/digits", "--yes").done()
    after_delete = dates()
    assert before != after_delete
    assert "to delete" in toy("prune", "--keep", 0, "--grace", 0, "--dry-run").done().out
    assert dates() == after_delete


def test_what_is_young_or_was_in_use_lately_is_spared(run: Any, home: Path) -> None:
    with earlier():
        run("delete", TUNED)
    assert run("prune", "--grace", "0", "--json").json["items"] == []
    assert run("prune", "--keep", "0", "--json").json["items"] == []
    assert run("prune", "--keep", "0", "--json").json["spared"] > 0


def test_a_prune_says_what_keeps_what_was_deleted_just_now(toy: Any) -> None:
    with zoo.open() as here:
        assert repr(here.plan_prune()) == "Plan(doomed=0, bytes=0, young=0, recent=0)"
    assert "kept" not in toy("prune").done().err
    toy("delete", TUNED).done()
    toy("tag", "team/base", "team/other").done()
    toy("delete", "team/other").done()  # another name is left
    kept = "1 checkpoint without a name is kept: a name pointed there in the last 90 days (--keep 0"
    assert kept in toy("prune").done().err
    assert toy("prune", "--json").json["recent"] == 1
    with zoo.open() as here:
        assert repr(here.plan_prune()) == "Plan(doomed=0, bytes=0, young=0, recent=1)"


def test_a_prune_says_that_files_are_too_young(toy: Any) -> None:
    with earlier():
        toy("delete", TUNED).done()
    said = toy("prune", "--keep", 0).done()
    assert "too young to delete (--grace 14)" in said.out
    assert "is kept" not in said.err


def test_a_remote_can_be_pruned(run: Any, home: Path, tmp_path: Path) -> None:
    run("push", TUNED, "--to", tmp_path / "team")
    assert run("prune", tmp_path / "team", "--json").json["items"] == []


def test_deleting_what_is_not_there(run: Any, home: Path) -> None:
    done = run("delete", "team/digit")
    assert (done.code, TUNED in done.err) == (1, True)


def aged(root: Path) -> None:
    """All files of a store are older than any grace."""
    long_ago = time.time() - 30 * 24 * 3600
    for path in root.rglob("*"):
        os.utime(path, (long_ago, long_ago), follow_symlinks=False)


@pytest.mark.parametrize(
    "place",
    sampled(["refs/team", "refs/team/digits", "refs/team/digits/latest"], ["refs/team/digits"]),
)
def test_names_behind_a_link_keep_all_checkpoints(
    run: Any, home: Path, tmp_path: Path, place: str
) -> None:
    """As where somebody moved a part of a team's folder to another disk."""
    team = tmp_path / "team"
    run("push", TUNED, "--to", team)
    (team / place).rename(tmp_path / "moved")
    (team / place).symlink_to(tmp_path / "moved")
    aged(team)
    checked = run("verify", team)
    assert (checked.code, "a link" in checked.out) == (1, True)
    shown = run("prune", team, "--yes")
    assert "no checkpoint is deleted while that is so" in shown.err
    assert len(list(team.glob("manifests/??/*"))) == 1
    (team / place).unlink()
    (tmp_path / "moved").rename(team / place)
    assert run("verify", team).code == 0


def test_names_whose_files_are_gone_keep_all_checkpoints(run: Any, home: Path) -> None:
    shutil.rmtree(home / "refs" / "team")
    aged(home)
    before = len(list(home.glob("manifests/??/*")))
    shown = run("prune", "--yes")
    assert "which the index knows, is gone; no checkpoint is deleted" in shown.err
    assert len(list(home.glob("manifests/??/*"))) == before


def test_weights_of_trials_are_collected_and_what_they_showed_stays(toy: Any) -> None:
    """Not while one is running, or young; and no link leads out of the zoo."""
    for name in ("old", "running", "young"):
        weights = Path("trials") / name / "weights"
        weights.mkdir(parents=True)
        for path in (weights / "probe.safetensors", weights.parent / "state.pt"):
            path.write_bytes(b"1234")
            if name != "young":
                os.utime(path, (1, 1))
        (weights.parent / "metrics.jsonl").write_text("{}\n")
    Path("elsewhere").mkdir()
    Path("elsewhere/mine").write_bytes(b"12")
    os.utime("elsewhere/mine", (1, 1))
    Path("trials/linked").mkdir()
    Path("trials/linked/weights").symlink_to(Path("elsewhere").absolute())
    lock = RunLock(Path("trials/running"), machine())
    old = ["trials/old/state.pt", "trials/old/weights/probe.safetensors"]
    shown = toy("prune", "--json").done().json
    items = [item for item in shown["items"] if item["kind"] == "weights of a trial"]
    assert ([item["name"] for item in items], items[0]["bytes"]) == (old, 4)
    assert shown["spared"] >= 4
    assert "no run continued it" in toy("prune").done().out
    toy("prune", "--yes").done()
    left = {str(path) for path in Path("trials").rglob("*.*")}
    assert {f"trials/{name}/metrics.jsonl" for name in ("old", "running", "young")} <= left
    assert not left & {*old}
    assert {f"trials/{name}/state.pt" for name in ("running", "young")} <= left
    assert Path("elsewhere/mine").exists()
    lock.release()
