"""zoo verify and zoo prune of a bucket, as typed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes.clock import earlier
from fakes.places import BucketPlace, flip
from fakes.sampled import sampled

from zoo.domain.reference import Reference
from zoo.reflog import append_deletion
from zoo.store import turn

BASE, TUNED = "team/base", "team/digits"
AT_ONCE = ("--keep", "0", "--grace", "0")


@pytest.fixture
def run(toy: Any) -> Any:
    """What a bucket holds is asked for one by one, so this zoo holds little."""
    return toy


@pytest.fixture
def team(run: Any, s3: str, monkeypatch: pytest.MonkeyPatch) -> BucketPlace:
    """A bucket to which the fine-tune was pushed a while ago."""
    from moto.core.utils import utcnow

    with monkeypatch.context() as patch:
        patch.setattr("moto.s3.models.utcnow", lambda: utcnow() - timedelta(seconds=2))
        assert run("push", TUNED, "--to", s3).code == 0
    return BucketPlace(s3)


def delete(team: BucketPlace) -> None:
    with earlier():
        append_deletion(team.remote, Reference.parse(TUNED))


def test_a_sound_bucket_and_a_damaged_ref(run: Any, team: BucketPlace) -> None:
    names = team.names("objects", "encoded", "manifests")
    done = run("verify", team.location)
    assert (done.code, f"{len(names)} files" in done.out) == (0, True)
    assert "all sound" in done.out
    team.plant(f"refs/{TUNED}/latest/00000001.json", b"junk")
    (damage,) = run("verify", team.location, "--json").json["damages"]
    assert (damage["kind"], damage["name"]) == ("ref", TUNED)


@pytest.mark.parametrize("harm", sampled(["flip", "truncate", "delete"], ["flip"]))
def test_damage_is_named_with_who_needs_it_and_healed(
    run: Any, team: BucketPlace, harm: str
) -> None:
    harmed = [team.names(kind)[0] for kind in ("encoded", "objects")]
    for name in harmed:
        harming(team, name, harm)
    found = run("verify", team.location)
    assert found.code == 1
    assert f"needed by {TUNED}" in found.out
    assert f"zoo verify {team.location} --repair" in found.err
    healed = run("verify", team.location, "--repair")  # from this zoo
    assert healed.code == 0
    for name in harmed:
        assert f"blake3:{Path(name).stem}" in found.out
        assert f"blake3:{Path(name).stem}" in healed.out
    manifest = team.names("manifests")[0]
    harming(team, manifest, harm)
    assert f"blake3:{Path(manifest).stem}" in run("verify", team.location).out
    assert run("verify", team.location, "--repair").code == 0
    assert run("verify", team.location).code == 0


def harming(team: BucketPlace, name: str, harm: str) -> None:
    if harm == "flip":
        flip(team, name)
    elif harm == "truncate":
        team.plant(name, team.read(name)[:-1])
    else:
        team.lose(name)


def test_the_zoo_is_healed_from_a_bucket(run: Any, team: BucketPlace) -> None:
    digest = run("show", TUNED, "--json").json["manifest"]
    (path,) = Path("manifests").rglob(f"{digest[7:]}*")
    path.unlink()
    assert run("verify").code == 1
    assert run("verify", "--repair", "--from", team.location).code == 0


@pytest.mark.long
def test_a_prune_shows_first_and_deletes_when_told(run: Any, team: BucketPlace) -> None:
    names = team.names("objects", "encoded", "manifests")
    assert run("prune", team.location, *AT_ONCE, "--yes", "--json").json["items"] == []
    delete(team)
    assert run("prune", team.location, "--yes", "--json").json["items"] == []  # it is young
    shown = run("prune", team.location, *AT_ONCE)
    assert (shown.code, "nothing was deleted" in shown.err) == (0, True)
    assert team.names("objects", "encoded", "manifests") == names
    done = run("prune", team.location, *AT_ONCE, "--yes", "--json").json
    assert (done["deleted"], len(done["items"])) == (True, len(names))
    assert team.names("objects", "encoded", "manifests", "tmp") == []
    assert run("verify", team.location).code == 0  # what was pruned is no damage
    assert run("show", TUNED).code == 0  # the zoo's own is another
    assert run("push", TUNED, "--to", team.location).code == 0
    assert run("verify", team.location, "--json").json["files"] == len(names)


@pytest.mark.long
def test_whoever_writes_and_whoever_prunes_give_way(
    run: Any, team: BucketPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "PATIENCE", 0.1)
    monkeypatch.setattr(turn, "UPLOAD_PATIENCE", 0.1)
    delete(team)
    names = team.names("objects", "encoded", "manifests")
    with team.remote.upload():
        stopped = run("prune", team.location, *AT_ONCE, "--yes")
    assert (stopped.code != 0, "an upload to this store is under way" in stopped.err) == (
        True,
        True,
    )
    assert team.names("objects", "encoded", "manifests") == names
    with team.remote.pruning():
        stopped = run("push", BASE, "--to", team.location)
    assert (stopped.code != 0, "prune" in stopped.err) == (True, True)
    assert team.names("objects", "encoded", "manifests") == names
