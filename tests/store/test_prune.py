"""What nothing needs goes, and nothing else; whoever writes is not disturbed."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, assert_sound, objects_in, tensors

from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.errors import Conflict, Corrupt, UnknownName
from zoo.store import Store
from zoo.store.prune import Plan, execute, plan
from zoo.store.verify import verify
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace

NAME, OTHER = "team/flowers", "team/birds"
NEVER = timedelta(days=3650)
NOW = timedelta(0)


@pytest.fixture
def zoo(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "zoo")


def prune(store: Store, *, keep: timedelta = NOW, grace: timedelta = NOW) -> Plan:
    time.sleep(0.01)  # what was written in this very instant is young
    shown = plan(store, keep=keep, grace=grace)
    return execute(store, shown, keep=keep, grace=grace)


def wait_a_second() -> None:
    """Moves are timed in whole seconds."""
    time.sleep(1.1)


def test_what_names_lead_to_stays(zoo: Workspace) -> None:
    add_checkpoint(zoo, NAME)
    add_checkpoint(zoo, OTHER, tensors(1))
    before = objects_in(zoo.store)
    assert prune(zoo.store).doomed == ()
    assert objects_in(zoo.store) == before


def test_a_deleted_name_goes_with_what_only_it_needed(zoo: Workspace) -> None:
    values = tensors()
    kept = add_checkpoint(zoo, NAME, values)
    gone = add_checkpoint(zoo, OTHER, {**values, "fc.bias": values["fc.bias"] + 1})
    zoo.delete(Reference.parse(OTHER))
    wait_a_second()
    done = prune(zoo.store)
    assert sorted(item.kind for item in done.doomed) == ["manifest", "object"]
    assert done.bytes == sum(item.bytes for item in done.doomed) > 0
    assert zoo.store.missing("manifests", [kept, gone]) == {gone}
    assert verify(zoo.store).damages == ()
    with pytest.raises(UnknownName):
        zoo.resolve(OTHER)


def test_a_plan_changes_nothing(zoo: Workspace) -> None:
    add_checkpoint(zoo, NAME)
    zoo.delete(Reference.parse(NAME))
    wait_a_second()
    before = objects_in(zoo.store)
    assert plan(zoo.store, keep=NOW, grace=NOW).doomed
    assert objects_in(zoo.store) == before


def test_what_a_name_pointed_at_lately_stays(zoo: Workspace) -> None:
    add_checkpoint(zoo, NAME)
    add_checkpoint(zoo, NAME, tensors(1))
    wait_a_second()
    assert prune(zoo.store, keep=NEVER).doomed == ()
    assert prune(zoo.store, keep=NOW).doomed
    assert_one_version(zoo)


def assert_one_version(zoo: Workspace) -> None:
    assert len(objects_in(zoo.store, "manifests")) == 1
    assert verify(zoo.store).damages == ()
    zoo.resolve(NAME)


def test_a_deleted_name_can_be_restored_until_pruned(zoo: Workspace) -> None:
    digest = add_checkpoint(zoo, NAME)
    ref = Reference.parse(NAME)
    zoo.delete(ref)
    with pytest.raises(UnknownName) as caught:
        zoo.resolve(NAME)
    assert caught.value.hint == f"zoo tag {digest} {NAME}"
    wait_a_second()
    prune(zoo.store, keep=NEVER)
    zoo.move(ref, digest, "restore")
    assert zoo.resolve(NAME) == (ref, digest)
    assert zoo.registry.ref(ref) == digest


def test_young_files_are_spared_with_all_they_need(zoo: Workspace) -> None:
    digest = add_checkpoint(zoo, NAME)
    zoo.delete(Reference.parse(NAME))
    wait_a_second()
    old = time.time() - 3600
    for item, _ in zoo.store.manifest(digest).objects():
        os.utime(zoo.store.path("objects", item), (old, old))
    spared = plan(zoo.store, keep=NOW, grace=timedelta(minutes=30))
    assert spared.doomed == ()  # the manifest is young, and needs the old objects
    os.utime(zoo.store.path("manifests", digest), (old, old))
    assert len(prune(zoo.store, grace=timedelta(minutes=30)).doomed) == 7


def test_leftovers_of_killed_writers_go(zoo: Workspace) -> None:
    (zoo.store.staging / "tmpabc").write_bytes(b"half an object")
    assert plan(zoo.store, keep=NOW, grace=NEVER).doomed == ()
    done = prune(zoo.store)
    assert [item.kind for item in done.doomed] == ["leftover"]
    assert list(zoo.store.staging.rglob("tmpabc")) == []


def test_the_base_of_a_delta_stays(zoo: Workspace, tmp_path: Path) -> None:
    """Although the checkpoint that it belonged to is gone."""
    values = tensors()
    base = add_checkpoint(zoo, OTHER, values)
    conv = "layer1.0.conv.weight"
    from zoo.domain.manifest import Parent

    parent = Parent(manifest=base, relation="finetune", ref=OTHER)
    tuned = {**values, conv: values[conv] * values[conv].dtype.type(1.0001)}
    add_checkpoint(zoo, NAME, tuned, parents=(parent,))
    for name in (OTHER, NAME):
        push(zoo, name, str(tmp_path / "team"))
    team = Workspace.create(tmp_path / "team")
    team.delete(Reference.parse(OTHER))
    wait_a_second()
    done = prune(team.store)
    assert {item.kind for item in done.doomed} == {"manifest"}  # all else is shared, or a base
    assert verify(team.store).damages == ()
    pull(Workspace.create(tmp_path / "theirs"), NAME, str(tmp_path / "team"))


def test_delete_prune_and_push_again(zoo: Workspace, tmp_path: Path) -> None:
    digest = add_checkpoint(zoo, NAME)
    push(zoo, NAME, str(tmp_path / "team"))
    team = Workspace.create(tmp_path / "team")
    team.delete(Reference.parse(NAME))
    wait_a_second()
    prune(team.store)
    assert objects_in(team.store) == objects_in(team.store, "encoded") == set()
    push(zoo, NAME, str(tmp_path / "team"))
    theirs = Workspace.create(tmp_path / "theirs")
    pull(theirs, NAME, str(tmp_path / "team"))
    assert theirs.resolve(NAME)[1] == digest
    assert_sound(theirs.store)


def test_what_came_back_since_the_plan_is_not_deleted(zoo: Workspace) -> None:
    digest = add_checkpoint(zoo, NAME)
    ref = Reference.parse(NAME)
    zoo.delete(ref)
    wait_a_second()
    shown = plan(zoo.store, keep=NOW, grace=NOW)
    assert shown.doomed
    zoo.move(ref, digest, "restore")
    assert execute(zoo.store, shown, keep=NOW, grace=NOW).doomed == ()
    assert verify(zoo.store).damages == ()


def test_a_prune_waits_for_an_upload(zoo: Workspace) -> None:
    shown = plan(zoo.store, keep=NOW, grace=NOW)
    with zoo.store.upload(), pytest.raises(Conflict, match="uploads"):
        execute(zoo.store, shown, keep=NOW, grace=NOW)
    execute(zoo.store, shown, keep=NOW, grace=NOW)


def test_an_upload_waits_for_a_prune(zoo: Workspace, tmp_path: Path) -> None:
    add_checkpoint(zoo, NAME)
    push(zoo, NAME, str(tmp_path / "team"))
    (tmp_path / "team" / "tmp" / "prune").touch()
    with pytest.raises(Conflict, match="prune"):
        push(zoo, NAME, str(tmp_path / "team"))


def test_signs_of_killed_processes_count_for_a_day(zoo: Workspace) -> None:
    sign = zoo.store.staging / "uploads" / "killed"
    sign.parent.mkdir()
    sign.touch()
    shown = plan(zoo.store, keep=NOW, grace=NOW)
    with pytest.raises(Conflict):
        execute(zoo.store, shown, keep=NOW, grace=NOW)
    yesterday = time.time() - 25 * 3600
    os.utime(sign, (yesterday, yesterday))
    execute(zoo.store, shown, keep=NOW, grace=NOW)


def test_a_damaged_manifest_stops_a_prune(zoo: Workspace) -> None:
    """What it needs cannot be known."""
    digest = add_checkpoint(zoo, NAME)
    add_checkpoint(zoo, OTHER, tensors(1))
    zoo.delete(Reference.parse(OTHER))
    path = zoo.store.path("manifests", digest)
    path.unlink()
    path.write_bytes(b"{}")
    wait_a_second()
    with pytest.raises(Corrupt):
        plan(zoo.store, keep=NOW, grace=NOW)


def test_a_pruned_version_is_no_damage_but_a_lost_one_is(zoo: Workspace) -> None:
    old = add_checkpoint(zoo, NAME)
    add_checkpoint(zoo, NAME, tensors(1))
    path: Path = zoo.store.path("manifests", old)
    kept = path.read_bytes()
    path.unlink()
    assert [damage.name for damage in verify(zoo.store).damages] == [str(old)]
    zoo.store.write("manifests", Digest.parse(str(old)), [kept])
    wait_a_second()
    prune(zoo.store)
    assert not path.exists()
    assert verify(zoo.store).damages == ()
