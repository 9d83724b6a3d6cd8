"""zoo clone and fetch, and a pull that knows where to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TUNED = "team/digits"


@pytest.fixture
def team(run: Any, tmp_path: Path) -> Path:
    run("push", TUNED, "--to", tmp_path / "team")
    return tmp_path / "team"


def test_clone_search_and_pull(run: Any, team: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    made = run("clone", team, theirs)
    assert made.code == 0
    assert f"created a zoo in {theirs}" in made.out
    assert "origin: 1 name, 1 new checkpoint" in made.out
    assert made.err.endswith("not here yet: zoo pull NAME, or zoo pull '*' --from origin\n")
    assert f"there is a zoo already in {theirs}" in run("clone", team, theirs).done().out
    (row,) = run("search", "digits", "--json", "--home", theirs).json
    assert (row["kind"], row["remotes"], row["pulled"]) == ("remote", ["origin"], False)
    shown = run("show", TUNED, "--json", "--home", theirs).json
    assert (shown["kind"], shown["num_classes"]) == ("remote", 10)
    assert "classes" not in shown, "the index has their names in lower case only"
    got = run("pull", TUNED, "--json", "--home", theirs).json
    assert got["manifest"] == row["manifest"]
    (row,) = run("search", "digits", "--json", "--home", theirs).json
    assert (row["kind"], row["remotes"], row["pulled"]) == ("checkpoint", [], True)


def test_a_table_says_who_has_it(run: Any, team: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    run("clone", team, theirs)
    assert "origin" in run("search", "digits", "--home", theirs).out


def test_fetch_all_remotes(run: Any, team: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    run("clone", team, theirs)
    run("remote", "add", "again", team, "--home", theirs)
    found = run("fetch", "--json", "--home", theirs).json
    assert [(remote["remote"], list(remote["refs"]), remote["new"]) for remote in found] == [
        ("again", [TUNED], []), ("origin", [TUNED], [])
    ]  # fmt: skip


def test_fetch_without_a_remote_says_how_to_get_one(run: Any, tmp_path: Path) -> None:
    run("init", tmp_path / "empty")
    done = run("fetch", "--home", tmp_path / "empty")
    assert done.code == 2
    assert "zoo remote add" in done.err
    assert run("fetch", "nowhere", "--home", tmp_path / "empty").code == 1


def test_a_clone_of_nothing_can_be_tried_again(run: Any, team: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    wrong = run("clone", tmp_path / "nothing", theirs)
    assert wrong.code == 1
    assert "does not exist" in wrong.err
    assert not theirs.exists()
    assert run("clone", team, theirs).code == 0


def test_one_that_is_away_does_not_hide_the_others(run: Any, team: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    run("clone", team, theirs)
    (tmp_path / "away").mkdir()
    for name in ("aaa", "bbb"):
        run("remote", "add", name, tmp_path / "away", "--home", theirs)
    done = run("fetch", "--home", theirs)
    assert done.code == 1
    assert "origin: 1 name" in done.out
    assert done.err.count("is not a zoo store") == 2
