"""A store is healed from a remote that holds the same things, and from nothing less."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint
from fakes.places import FolderPlace, Place, flip, mirror

from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.errors import Conflict, DiskFull, Unavailable, ZooError
from zoo.store import Store
from zoo.store.listing import name_of
from zoo.store.verify import verify
from zoo.transfer.repair import repair
from zoo.transfer.sync import push
from zoo.workspace import Workspace

NAME = "team/flowers"
KINDS = ("objects", "encoded", "manifests")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `zoo` copies."""
    workspace = Workspace.create(tmp_path_factory.mktemp("repair") / "mine")
    add_checkpoint(workspace, NAME)
    workspace.close()
    return workspace.root


@pytest.fixture
def zoo(made: Path, tmp_path: Path) -> Workspace:
    return Workspace(shutil.copytree(made, tmp_path / "mine"))


@pytest.fixture
def mine(zoo: Workspace) -> Place:
    return FolderPlace(zoo.root)


@pytest.fixture
def team(zoo: Workspace, place: Place) -> Place:
    push(zoo, NAME, place.location, smallest=True)
    assert place.names("encoded")
    return place


def contents(place: Place) -> dict[str, bytes]:
    return {name: place.read(name) for name in place.names(*KINDS)}


def test_all_that_is_damaged_or_lost_is_healed(zoo: Workspace, mine: Place, team: Place) -> None:
    before = contents(mine)
    for number, name in enumerate(before):
        flip(mine, name) if number % 2 else mine.lose(name)
    repaired = repair(zoo.store, team.remote)
    assert len(repaired.healed) == len(before)
    assert repaired.damages == verify(zoo.store).damages == ()
    assert contents(mine) == before


@pytest.mark.parametrize("how", ["flipped", "emptied", "lost"])
def test_a_remote_is_healed_from_the_zoo(
    zoo: Workspace, team: Place, tmp_path: Path, how: str
) -> None:
    before = contents(team)
    for name in before:
        if how == "flipped":
            flip(team, name)
        elif how == "emptied":
            team.plant(name, b"")
        else:
            team.lose(name)
    repaired = repair(team.remote, zoo.store)
    assert len(repaired.healed) == len(before)
    assert repaired.damages == verify(team.remote).damages == ()
    assert team.names("encoded") == []  # the sound copy was there as it is
    assert team.names("tmp") == []


def test_nothing_is_taken_from_a_remote_that_is_damaged_itself(
    zoo: Workspace, mine: Place, team: Place
) -> None:
    for place in (mine, team):
        for name in place.names(*KINDS):
            flip(place, name)
    before = contents(mine), contents(team)
    for one, other in ((mine, team), (team, mine)):
        repaired = repair(one.remote, other.remote)
        assert repaired.healed == ()
        assert len(repaired.damages) == len(one.names(*KINDS))
    assert (contents(mine), contents(team)) == before


@pytest.mark.parametrize("kind", ["objects", "manifests"])
@pytest.mark.parametrize("inside", [(), ("notes.txt",)], ids=["empty", "full"])
def test_a_folder_in_the_place_of_a_file_is_set_aside(
    zoo: Workspace, mine: Place, team: Place, kind: str, inside: tuple[str, ...]
) -> None:
    before = contents(mine)
    path = zoo.root / mine.names(kind)[0]
    path.unlink()
    path.mkdir()
    for name in inside:
        (path / name).write_text("somebody's")
    assert verify(zoo.store).damages
    assert repair(zoo.store, team.remote).damages == ()
    assert contents(mine) == before
    assert [name.rpartition("/")[2] for name in mine.names("tmp")] == list(inside)


def test_refs_are_left_alone(zoo: Workspace, team: Place) -> None:
    entry = f"refs/{NAME}/latest/00000001.json"
    team.plant(entry, b"junk")
    (damage,) = repair(team.remote, zoo.store).damages
    assert damage.kind == "ref"
    assert team.read(entry) == b"junk"


def test_nothing_is_mended_during_a_prune(zoo: Workspace, team: Place) -> None:
    flip(team, team.names("objects")[0])
    before = contents(team)
    team.plant("tmp/prune-0123", b"")
    with pytest.raises(Conflict, match="prune"):
        repair(team.remote, zoo.store)
    assert contents(team) == before


@pytest.mark.parametrize("error", [Unavailable("it", "is down"), DiskFull("/")])
def test_who_cannot_go_on_says_so(
    zoo: Workspace, mine: Place, tmp_path: Path, error: ZooError
) -> None:
    """It is not that the other side lacks what is damaged."""

    class Failing(Store):
        def missing(self, *_: object) -> set[Digest]:
            raise error

    flip(mine, mine.names("objects")[0])
    with pytest.raises(type(error)):
        repair(zoo.store, Failing.create(tmp_path / "failing"))


def test_what_is_damaged_again_at_once_is_not_mended_for_ever(
    zoo: Workspace, mine: Place, tmp_path: Path
) -> None:
    class Rotten(Store):
        def replace(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> None:
            super().replace(kind, digest, pieces)
            flip(mine, name_of(kind, digest))

    source = Store.create(tmp_path / "source")
    mirror(zoo.store, FolderPlace(source.root))
    flip(mine, mine.names("objects")[0])
    repaired = repair(Rotten(zoo.store.backend), source)
    assert (repaired.healed, len(repaired.damages)) == ((), 1)
