"""What nothing needs goes, and nothing else; whoever writes is not disturbed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, assert_sound, store_checkpoint, tensors
from fakes.clock import earlier
from fakes.places import BucketPlace, FolderPlace, Place, ago, everywhere, mirror

from zoo.codec.header import Codec, read_header
from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.errors import Conflict, Corrupt, DiskFull, UnknownName
from zoo.reflog import append_deletion
from zoo.store import Store, turn
from zoo.store.disk import Disk
from zoo.store.listing import name_of
from zoo.store.prune import PrunePlan, execute, plan
from zoo.store.verify import verify
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace

NAME, OTHER = "team/flowers", "team/birds"
NEVER = timedelta(days=3650)
NOW = timedelta(seconds=-2)
"""Files and moves are timed in whole seconds here and there: what is just made is old enough."""


@pytest.fixture
def zoo(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "zoo")


def prune(store: Store, *, keep: timedelta = NOW, grace: timedelta = NOW) -> PrunePlan:
    shown = plan(store, keep=keep, grace=grace)
    return execute(store, shown, keep=keep, grace=grace)


def test_what_names_lead_to_stays(zoo: Workspace, place: Place) -> None:
    add_checkpoint(zoo, NAME)
    add_checkpoint(zoo, OTHER, tensors(1))
    mirror(zoo.store, place)
    before = place.names("objects", "manifests")
    assert before
    assert prune(place.remote).doomed == ()
    assert place.names("objects", "manifests") == before


@everywhere
def test_a_deleted_name_goes_with_what_only_it_needed(zoo: Workspace, place: Place) -> None:
    values = tensors()
    kept = add_checkpoint(zoo, NAME, values)
    gone = add_checkpoint(zoo, OTHER, {**values, "fc.bias": values["fc.bias"] + 1})
    zoo.delete(Reference.parse(OTHER))
    mirror(zoo.store, place)
    done = prune(place.remote)
    assert sorted(item.kind for item in done.doomed) == ["manifest", "object"]
    assert done.bytes == sum(item.bytes for item in done.doomed) > 0
    assert place.remote.missing("manifests", [kept, gone]) == {gone}
    assert place.names("pruned") == [name_of("pruned", gone)]
    assert place.names("tmp") == []
    assert verify(place.remote).damages == ()
    with pytest.raises(UnknownName):
        zoo.names.resolve(OTHER)


def test_a_plan_changes_nothing(zoo: Workspace, place: Place) -> None:
    add_checkpoint(zoo, NAME)
    zoo.delete(Reference.parse(NAME))
    mirror(zoo.store, place)
    before = place.names("objects", "manifests")
    assert len(plan(place.remote, keep=NOW, grace=NOW).doomed) == len(before) > 0
    assert place.names("objects", "manifests") == before
    assert place.names("pruned", "tmp") == []


def test_what_a_name_pointed_at_lately_stays(zoo: Workspace, place: Place) -> None:
    add_checkpoint(zoo, NAME)
    newest = add_checkpoint(zoo, NAME, tensors(1))
    mirror(zoo.store, place)
    assert prune(place.remote, keep=NEVER).doomed == ()
    assert prune(place.remote, keep=timedelta.max).doomed == ()
    assert prune(place.remote, keep=NOW).doomed
    assert place.names("manifests") == [name_of("manifests", newest)]
    assert verify(place.remote).damages == ()


def test_a_clock_that_was_wrong_hides_no_move(zoo: Workspace, place: Place) -> None:
    """Whoever moved and deleted the names had a clock that was behind by years."""
    add_checkpoint(zoo, NAME)
    add_checkpoint(zoo, OTHER, tensors(1))
    with earlier(seconds=1000 * 86400):
        add_checkpoint(zoo, NAME, tensors(2))
        zoo.delete(Reference.parse(OTHER))
    mirror(zoo.store, place)
    assert prune(place.remote, keep=timedelta(days=90)).doomed == ()
    assert len(prune(place.remote).doomed) > 2


def test_a_deleted_name_can_be_restored_until_pruned(zoo: Workspace) -> None:
    digest = add_checkpoint(zoo, NAME)
    ref = Reference.parse(NAME)
    zoo.delete(ref)
    with pytest.raises(UnknownName) as caught:
        zoo.names.resolve(NAME)
    assert caught.value.hint == f"zoo delete --restore {NAME}"
    prune(zoo.store, keep=NEVER)
    zoo.move(ref, digest, "restore")
    assert zoo.names.resolve(NAME) == (ref, digest)
    assert zoo.registry.ref(ref) == digest


def test_young_files_are_spared_with_all_they_need(zoo: Workspace, place: Place) -> None:
    digest = add_checkpoint(zoo, NAME)
    zoo.delete(Reference.parse(NAME))
    mirror(zoo.store, place)
    hour = timedelta(minutes=30)
    for name in place.names("objects"):
        place.age(name, ago(3600))
    spared = plan(place.remote, keep=NOW, grace=hour)
    assert spared.doomed == ()  # the manifest is young, and needs the old objects
    assert spared.young == len(place.names("objects", "manifests"))
    place.age(name_of("manifests", digest), ago(3600))
    assert len(prune(place.remote, grace=hour).doomed) == 7


@pytest.mark.long
def test_ages_in_a_bucket_are_by_the_clock_of_the_service(
    zoo: Workspace, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that is behind by years, an upload of today does not look abandoned."""
    from moto.s3 import models

    now = models.utcnow  # type: ignore[attr-defined]
    monkeypatch.setattr(models, "utcnow", lambda: now() - NEVER)
    place = BucketPlace(s3)
    store_checkpoint(zoo.store)
    mirror(zoo.store, place)
    assert prune(place.remote, grace=timedelta(days=14)).doomed == ()
    assert len(place.names("objects", "manifests")) == 7
    assert len(prune(place.remote).doomed) == 7


def test_a_disk_that_is_too_full_for_marks_gets_them_afterwards(
    zoo: Workspace, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = add_checkpoint(zoo, NAME)
    zoo.delete(Reference.parse(NAME))
    mirror(zoo.store, place)
    mark = Store.remember_pruned

    def mark_if_there_is_room(store: Store, digest: Digest) -> None:
        if place.names("objects"):
            raise DiskFull(Path("disk"))
        mark(store, digest)

    monkeypatch.setattr(Store, "remember_pruned", mark_if_there_is_room)
    assert len(prune(place.remote).doomed) == 7
    assert place.names("pruned") == [name_of("pruned", gone)]
    assert verify(place.remote).damages == ()


def test_leftovers_of_killed_writers_go(place: Place) -> None:
    place.plant("tmp/tmpabcdefgh", b"half an object")
    assert plan(place.remote, keep=NOW, grace=NEVER).doomed == ()
    done = prune(place.remote)
    assert [(item.kind, item.name) for item in done.doomed] == [("leftover", "tmp/tmpabcdefgh")]
    assert place.names("tmp") == []


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo with a base, and what was fine-tuned from it."""
    mine = Workspace.create(tmp_path_factory.mktemp("deltas") / "mine")
    values = tensors()
    base = add_checkpoint(mine, OTHER, values)
    conv = "layer1.0.conv.weight"
    parent = Parent(manifest=base, relation="finetune", ref=OTHER)
    tuned = {**values, conv: values[conv] * values[conv].dtype.type(1.0001)}
    add_checkpoint(mine, NAME, tuned, parents=(parent,))
    mine.close()
    return mine.root


@pytest.fixture
def deltas(family: Path, zoo: Workspace, place: Place, tmp_path: Path) -> Place:
    """A remote with a base, and what was fine-tuned from it as a delta."""
    mine = Workspace(shutil.copytree(family, tmp_path / "mine"))
    for name in (OTHER, NAME):
        push(mine, name, place.location, smallest=True)
    return place


def test_the_base_of_a_delta_stays(deltas: Place, tmp_path: Path) -> None:
    """Although the checkpoint that it belonged to is gone."""
    append_deletion(deltas.remote, Reference.parse(OTHER))
    done = prune(deltas.remote)
    assert {item.kind for item in done.doomed} == {"manifest"}  # all else is shared, or a base
    assert verify(deltas.remote).damages == ()
    pull(Workspace.create(tmp_path / "theirs"), NAME, deltas.location)


def test_the_base_of_a_young_delta_stays(deltas: Place) -> None:
    """Its manifest may be on its way still."""
    for ref in list(deltas.remote.refs()):
        append_deletion(deltas.remote, ref)
    old, grace = ago(3600), timedelta(minutes=30)
    names = deltas.names("objects", "encoded", "manifests", "encoded-manifests")
    forms = deltas.names("encoded")
    read = {name: read_header(deltas.read(name)) for name in forms}
    delta = next(n for n, header in read.items() if header.base and header.codec != Codec.ZSTD)
    for name in set(names) - {delta}:
        deltas.age(name, old)
    left = set(names) - {item.file for item in prune(deltas.remote, grace=grace).doomed}
    assert delta in left
    assert len(left) == 2
    assert verify(deltas.remote).damages == ()


def test_delete_prune_and_push_again(deltas: Place, tmp_path: Path) -> None:
    for ref in list(deltas.remote.refs()):
        append_deletion(deltas.remote, ref)
    order = [item.kind for item in prune(deltas.remote).doomed]
    kinds = ["encoded manifest", "manifest", "encoded object", "object"]
    assert order == sorted(order, key=kinds.index)
    # A push encodes no manifest in a zoo's own folder.
    assert set(order) == set(kinds[isinstance(deltas, FolderPlace) :])
    assert deltas.names("objects", "encoded", "manifests", "encoded-manifests") == []
    assert len(deltas.names("pruned")) == 2
    mine, theirs = Workspace(tmp_path / "mine"), Workspace.create(tmp_path / "theirs")
    push(mine, NAME, deltas.location)
    assert len(deltas.names("pruned")) == 1  # the other one's
    pull(theirs, NAME, deltas.location)
    assert theirs.names.resolve(NAME) == mine.names.resolve(NAME)
    assert_sound(theirs.store)


def test_what_came_back_since_the_plan_is_not_deleted(zoo: Workspace, place: Place) -> None:
    digest = add_checkpoint(zoo, NAME)
    ref = Reference.parse(NAME)
    zoo.delete(ref)
    mirror(zoo.store, place)
    shown = plan(place.remote, keep=NOW, grace=NOW)
    assert shown.doomed
    zoo.move(ref, digest, "restore")
    mirror(zoo.store, place)
    assert execute(place.remote, shown, keep=NOW, grace=NOW).doomed == ()
    assert verify(place.remote).damages == ()


def test_what_was_not_shown_is_not_deleted(zoo: Workspace, place: Place) -> None:
    shown = plan(place.remote, keep=NOW, grace=NOW)
    store_checkpoint(zoo.store)
    mirror(zoo.store, place)
    before = place.names("objects", "manifests")
    assert execute(place.remote, shown, keep=NOW, grace=NOW).doomed == ()
    assert place.names("objects", "manifests") == before


def test_what_stays_unshown_keeps_what_it_needs(deltas: Place, tmp_path: Path) -> None:
    """A name is deleted after the plan was shown, which lists what its checkpoint is coded against:
    that stays with it, and so a push that finds it there leaves it whole.
    """
    append_deletion(deltas.remote, Reference.parse(OTHER))
    shown = plan(deltas.remote, keep=NOW, grace=NOW)
    assert shown.doomed
    append_deletion(deltas.remote, Reference.parse(NAME))
    execute(deltas.remote, shown, keep=NOW, grace=NOW)
    assert verify(deltas.remote).damages == ()
    push(Workspace(tmp_path / "mine"), NAME, deltas.location)
    assert verify(deltas.remote).damages == ()
    pull(Workspace.create(tmp_path / "theirs"), NAME, deltas.location)


def test_objects_shown_without_their_manifest_stay(zoo: Workspace, place: Place) -> None:
    """As of a checkpoint that was written, and lost its name, while the plan was made."""
    add_checkpoint(zoo, NAME)
    zoo.delete(Reference.parse(NAME))
    mirror(zoo.store, place)
    whole = plan(place.remote, keep=NOW, grace=NOW)
    objects = tuple(item for item in whole.doomed if item.kind == "object")
    assert {item.kind for item in whole.doomed} == {"object", "manifest"}
    shown = replace(whole, doomed=objects)
    assert execute(place.remote, shown, keep=NOW, grace=NOW).doomed == ()
    assert verify(place.remote).damages == ()


def test_a_prune_waits_for_an_upload(zoo: Workspace, place: Place) -> None:
    store_checkpoint(zoo.store)
    mirror(zoo.store, place)
    shown = plan(place.remote, keep=NOW, grace=NOW)
    before = place.names("objects", "manifests")
    with place.remote.upload(), pytest.raises(Conflict, match="uploads"):
        execute(place.remote, shown, keep=NOW, grace=NOW)
    assert place.names("objects", "manifests") == before
    assert execute(place.remote, shown, keep=NOW, grace=NOW) == shown
    assert place.names("objects", "manifests") == []


def test_a_push_gives_way_to_a_prune(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "UPLOAD_PATIENCE", 0.1)
    mine = Workspace.create(tmp_path / "mine")
    add_checkpoint(mine, NAME)
    place.plant("tmp/prune", b"")
    with pytest.raises(Conflict, match="prune"):
        push(mine, NAME, place.location)
    assert place.names("objects", "encoded", "manifests", "refs") == []


def test_a_sign_that_a_prune_deletes_before_it_is_set(
    zoo: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prune without grace deletes what lies in scratch, the sign of a writer among it."""
    renaming = Disk.rename

    def rename(disk: Disk, name: str, target: str) -> bool:
        if target.startswith("tmp/uploads/"):
            prune(zoo.store)
        return renaming(disk, name, target)

    monkeypatch.setattr(Disk, "rename", rename)
    with pytest.raises(Conflict, match="try again"), zoo.store.upload():
        pass


def test_signs_of_killed_processes_count_for_a_day(place: Place) -> None:
    place.plant("tmp/uploads/killed", b"")
    shown = plan(place.remote, keep=NOW, grace=NOW)
    with pytest.raises(Conflict):
        execute(place.remote, shown, keep=NOW, grace=NOW)
    place.age("tmp/uploads/killed", ago(25 * 3600))
    execute(place.remote, shown, keep=NOW, grace=NOW)


def test_a_damaged_manifest_stops_a_prune(zoo: Workspace, place: Place) -> None:
    """What it needs cannot be known."""
    digest = add_checkpoint(zoo, NAME)
    add_checkpoint(zoo, OTHER, tensors(1))
    zoo.delete(Reference.parse(OTHER))
    mirror(zoo.store, place)
    place.plant(name_of("manifests", digest), b"{}")
    with pytest.raises(Corrupt):
        plan(place.remote, keep=NOW, grace=NOW)


@pytest.mark.parametrize("data", [b"", b"ZOOC", b"\0" * 200])
def test_a_damaged_encoded_object_stops_a_prune(deltas: Place, data: bytes) -> None:
    """What it is coded against cannot be known; unless nothing needs it."""
    for name in deltas.names("encoded"):
        deltas.plant(name, data)
    with pytest.raises(Corrupt):
        plan(deltas.remote, keep=NOW, grace=NOW)
    for ref in list(deltas.remote.refs()):
        append_deletion(deltas.remote, ref)
    prune(deltas.remote)
    assert deltas.names("objects", "encoded", "manifests", "encoded-manifests") == []


def test_a_damaged_history_keeps_all_checkpoints(zoo: Workspace, place: Place) -> None:
    """What they name cannot be known; what no checkpoint needs goes all the same."""
    add_checkpoint(zoo, NAME)
    add_checkpoint(zoo, OTHER, tensors(1))
    zoo.delete(Reference.parse(OTHER))
    stray = zoo.store.put("objects", b"nobody's")
    mirror(zoo.store, place)
    place.plant(f"refs/{NAME}/latest/00000001.json", b"junk")
    shown = plan(place.remote, keep=NOW, grace=NOW)
    assert [item.name for item in shown.doomed] == [str(stray)]
    assert NAME in shown.unread[0]
    assert "no checkpoint is deleted" in shown.unread[0]


def test_a_pruned_version_is_no_damage_but_a_lost_one_is(zoo: Workspace, place: Place) -> None:
    old = add_checkpoint(zoo, NAME)
    add_checkpoint(zoo, NAME, tensors(1))
    mirror(zoo.store, place)
    name = name_of("manifests", old)
    kept = place.read(name)
    place.lose(name)
    assert [damage.name for damage in verify(place.remote).damages] == [str(old)]
    place.remote.write("manifests", old, [kept])
    prune(place.remote)
    assert name not in place.names("manifests")
    assert verify(place.remote).damages == ()
