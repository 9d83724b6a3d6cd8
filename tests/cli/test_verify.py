"""zoo verify, as typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import flip_byte

TUNED = "team/digits"


def an_object(home: Path) -> Path:
    return max(
        (path for path in (home / "objects").rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )


def harm(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()  # the file may be shared with other tests' zoos
    path.write_bytes(data)
    flip_byte(path)


def test_a_sound_zoo(run: Any, home: Path) -> None:
    done = run("verify")
    assert (done.code, "all sound" in done.out) == (0, True)
    report = run("verify", "--json").json
    assert (report["damages"], report["healed"]) == ([], [])
    assert report["files"] > 10


def test_damage_is_named_with_who_needs_it_and_healed(run: Any, home: Path, tmp_path: Path) -> None:
    team = tmp_path / "team"
    run("push", TUNED, "--to", team)
    run("tag", TUNED, "team/twice")
    run("mv", "team/twice", "team/moved")
    run("delete", "team/moved", "--yes")
    (damaged,) = (home / "manifests").rglob(run("show", TUNED, "--json").json["manifest"][7:] + "*")
    harm(damaged)
    done = run("verify")
    assert done.code == 1
    assert damaged.stem in done.out
    assert f"needed by {TUNED}\n" in done.out
    assert "--repair" in done.err
    assert "needed by team/twice (renamed to team/moved)\n" in done.out
    assert "needed by team/moved (deleted)\n" in done.out
    healed = run("verify", "--repair", "--from", team)
    assert (healed.code, "repaired" in healed.out) == (0, True)
    assert run("verify").code == 0


def test_what_cannot_be_healed_is_still_named(run: Any, home: Path, tmp_path: Path) -> None:
    run("push", TUNED, "--to", tmp_path / "team")
    lost = an_object(home)
    harm(lost)  # of the base, which was not pushed
    done = run("verify", "--repair", "--from", tmp_path / "team", "--json")
    assert done.code == 1
    assert [damage["name"] for damage in done.json["damages"]] == [f"blake3:{lost.name}"]


def test_a_remote_can_be_verified(run: Any, home: Path, tmp_path: Path) -> None:
    team = tmp_path / "team"
    run("push", TUNED, "--to", team, "--repack", "max")
    assert run("verify", team).code == 0
    flip_byte(next(path for path in (team / "encoded").rglob("*") if path.is_file()))
    assert run("verify", team).code == 1
    healed = run("verify", team, "--repair")  # from this zoo
    assert (healed.code, "repaired" in healed.out) == (0, True)


@pytest.mark.long
def test_a_remote_that_a_pull_finds_damaged(run: Any, home: Path, tmp_path: Path) -> None:
    """It is named, with the command for whoever has the checkpoint; here, that cannot help."""
    team, mine = tmp_path / "team", tmp_path / "mine"
    run("push", TUNED, "--to", team)
    damaged = an_object(team)
    harm(damaged)
    run("init", mine)
    done = run("--home", mine, "pull", TUNED, "--from", team)
    assert done.code == 1
    assert f"object blake3:{damaged.name} is damaged in {team}" in done.err
    assert f"repair it from a zoo that has an intact copy: zoo verify {team} --repair" in done.err
    left = run("--home", mine, "verify", team, "--repair")
    assert left.code == 1
    assert "this zoo has no intact copy" in left.err
    assert f"zoo verify {team} --repair --from REMOTE" in left.err
    assert run("verify", team, "--repair").code == 0
    assert run("--home", mine, "pull", TUNED, "--from", team).code == 0


def test_repair_needs_a_place_to_repair_from(run: Any, home: Path) -> None:
    assert run("verify", "--repair").code == 2
    assert run("verify", "--from", "x").code == 2
