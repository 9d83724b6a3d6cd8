"""A store is healed from a remote that holds the same things, and from nothing less."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, flip_byte

from zoo.store import Store
from zoo.store.verify import verify
from zoo.transfer.repair import repair
from zoo.transfer.sync import push
from zoo.workspace import Workspace

NAME = "team/flowers"


@pytest.fixture
def zoo(tmp_path: Path) -> Workspace:
    workspace = Workspace.create(tmp_path / "zoo")
    add_checkpoint(workspace, NAME)
    return workspace


@pytest.fixture
def team(zoo: Workspace, tmp_path: Path) -> Store:
    push(zoo, NAME, str(tmp_path / "team"))
    return Store.open(tmp_path / "team")


def files(store: Store) -> list[Path]:
    kinds = ("objects", "encoded", "manifests")
    found = [path for kind in kinds for path in (store.root / kind).rglob("*")]
    return sorted(path for path in found if path.is_file())


def test_all_that_is_damaged_or_lost_is_healed(zoo: Workspace, team: Store) -> None:
    before = {path: path.read_bytes() for path in files(zoo.store)}
    for number, path in enumerate(before):
        flip_byte(path) if number % 2 else path.unlink()
    repaired = repair(zoo.store, team)
    assert len(repaired.healed) == len(before)
    assert repaired.report.damages == verify(zoo.store).damages == ()
    assert {path: path.read_bytes() for path in files(zoo.store)} == before


def test_a_remote_is_healed_from_the_zoo(zoo: Workspace, team: Store) -> None:
    for path in files(team):
        flip_byte(path)
    assert repair(team, zoo.store).report.damages == ()
    assert verify(team).damages == ()


def test_nothing_is_taken_from_a_remote_that_is_damaged_itself(zoo: Workspace, team: Store) -> None:
    for store in (zoo.store, team):
        for path in files(store):
            flip_byte(path)
    before = {path: path.read_bytes() for path in files(zoo.store)}
    repaired = repair(zoo.store, team)
    assert repaired.healed == ()
    assert len(repaired.report.damages) == len(before)
    assert {path: path.read_bytes() for path in files(zoo.store)} == before


def test_refs_are_left_alone(zoo: Workspace, team: Store) -> None:
    entry = zoo.root / "refs" / NAME / "latest" / "00000001.json"
    entry.unlink()
    entry.write_bytes(b"junk")
    (damage,) = repair(zoo.store, team).report.damages
    assert damage.kind == "ref"
    assert entry.read_bytes() == b"junk"
