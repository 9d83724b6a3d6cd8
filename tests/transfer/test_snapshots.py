"""Snapshots are kept, checked, copied and deleted as checkpoints are."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from fakes import program
from fakes.checkpoints import (
    add_checkpoint,
    assert_sound,
    objects_in,
    store_checkpoint,
    stored_snapshot,
    tensors,
)
from fakes.clock import earlier

from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.errors import Conflict, NoCheckpoint, WouldReplace
from zoo.lookup.lineage import lineage
from zoo.store.listing import name_of
from zoo.store.manifests import has_all_of
from zoo.store.prune import execute, plan
from zoo.store.verify import verify
from zoo.transfer.fetch import fetch
from zoo.transfer.names import delete, protect, rename, restore
from zoo.transfer.repair import repair
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace

NOW = timedelta(seconds=-2)
WHOLE, FILES = Reference("team", "flowers"), Reference("team", "readme")
TEXTS = {"README.md": b"hello\n", "data/a.bin": b"\1" * 70_000}


@pytest.fixture
def zoo(tmp_path: Path) -> Workspace:
    """Has a name with a checkpoint among its files, and one with files only."""
    zoo = Workspace.create(tmp_path / "zoo")
    checkpoint = store_checkpoint(zoo.store)
    with earlier():
        zoo.move(WHOLE, stored_snapshot(zoo.store, TEXTS, checkpoint), "commit")
        zoo.move(FILES, stored_snapshot(zoo.store, {"README.md": b"only me\n"}), "commit")
    return zoo


def target(zoo: Workspace, ref: Reference) -> Digest:
    entry = zoo.store.read_ref(ref)
    assert entry
    return entry.manifest


def test_a_name_with_a_checkpoint_among_its_files_is_that(zoo: Workspace) -> None:
    _, digest = zoo.names.resolve("team/flowers")
    assert zoo.store.manifest(digest).weights
    assert digest != target(zoo, WHOLE)
    assert zoo.names.resolve(str(target(zoo, WHOLE)))[1] == digest
    assert [(ref, found) for ref, found, _ in zoo.registry.refs()] == [(WHOLE, digest)]
    assert lineage(zoo, "team/flowers").manifest == digest
    done = zoo.reindex()
    assert (done.refs, done.checkpoints) == (1, 1)
    assert zoo.registry.ref(WHOLE) == digest


def test_a_name_of_files_only_is_told(zoo: Workspace) -> None:
    with pytest.raises(NoCheckpoint, match="team/readme holds files, no checkpoint") as told:
        zoo.names.resolve("team/readme")
    assert "may still be reading them" in told.value.advice
    for found in (lineage(zoo, "team/readme"), lineage(zoo, str(target(zoo, FILES)))):
        assert (found.manifest, found.ancestors) == (target(zoo, FILES), ())
    delete(zoo, FILES, None)
    assert [each.entry.why for each in lineage(zoo, "team/readme").history] == ["delete", "commit"]
    restore(zoo, FILES, None)
    said = program.zoo("--home", zoo.root, "log", "team/readme").done()
    assert "it has no lineage" in said.err
    assert "commit" in said.out
    manifest = zoo.store.manifest(store_checkpoint(zoo.store))
    with pytest.raises(Conflict, match="holds files here"):
        zoo.names.check_descends(FILES, manifest)
    with pytest.raises(Conflict, match="holds files here"):
        zoo.names.check_network(FILES, manifest.backbone)


def test_files_are_copied_to_another_name(zoo: Workspace) -> None:
    def tag(*args: str) -> program.Said:
        return program.zoo("--home", zoo.root, "tag", *args)

    copy = Reference.parse("team/readme:v9")
    assert "team/readme:v9" in tag("team/readme", str(copy)).done().out
    assert target(zoo, copy) == target(zoo, FILES)
    zoo.move(FILES, stored_snapshot(zoo.store, {"README.md": b"other"}), "commit")
    assert "would become other files" in tag("team/readme", str(copy)).err
    tag("team/readme", str(copy), "--force").done()
    assert target(zoo, copy) == target(zoo, FILES)
    assert tag("team/readme", str(WHOLE)).err, "a checkpoint becomes no files"


def test_a_fine_tune_of_its_checkpoint_may_take_the_name(zoo: Workspace) -> None:
    base = zoo.names.resolve("team/flowers")[1]
    known = zoo.store.manifest(base)
    tuned = known.descending(known, Parent(manifest=base, relation="finetune", ref="team/flowers"))
    zoo.names.check_descends(WHOLE, tuned)


def test_what_a_snapshot_needs_is_kept_and_goes_with_it(zoo: Workspace) -> None:
    def prune() -> None:
        execute(zoo.store, plan(zoo.store, keep=NOW, grace=NOW), keep=NOW, grace=NOW)

    before = objects_in(zoo.store), objects_in(zoo.store, "manifests")
    prune()
    assert (objects_in(zoo.store), objects_in(zoo.store, "manifests")) == before
    for ref in (WHOLE, FILES):
        delete(zoo, ref, None)
        assert restore(zoo, ref, None).manifest == zoo.shown_digest(target(zoo, ref))
        with earlier():
            delete(zoo, ref, None)
    prune()
    assert not objects_in(zoo.store)
    assert not objects_in(zoo.store, "manifests")
    assert verify(zoo.store).damages == ()


def test_harm_to_what_it_needs_is_found_and_mended(zoo: Workspace, tmp_path: Path) -> None:
    assert verify(zoo.store).damages == ()
    push(zoo, "team/flowers", str(tmp_path / "shared"))
    remote = zoo.remotes.connect(str(tmp_path / "shared"))
    checkpoint = zoo.names.resolve("team/flowers")[1]
    text = zoo.store.document(target(zoo, WHOLE)).files[0].object
    assert isinstance(text, Digest)
    zoo.store.remove(name_of("objects", text))
    zoo.store.remove(name_of("manifests", checkpoint))
    assert not has_all_of(zoo.store, target(zoo, WHOLE))
    found = {damage.name: damage.needed_by for damage in verify(zoo.store).damages}
    assert found == {str(text): ("team/flowers",), str(checkpoint): ("team/flowers",)}
    assert len(repair(zoo.store, remote).healed) == 2
    assert_sound(zoo.store)


@pytest.mark.parametrize("ref", [WHOLE, FILES], ids=str)
def test_it_goes_to_a_remote_and_comes_from_one(
    zoo: Workspace, tmp_path: Path, ref: Reference
) -> None:
    shared, theirs = str(tmp_path / "shared"), Workspace.create(tmp_path / "theirs")
    _, sent = push(zoo, str(ref), shared)
    snapshot = zoo.store.document(target(zoo, ref))
    assert sent.logical_bytes == snapshot.logical_bytes
    assert sent.sent == dict(snapshot.objects()).keys()
    assert push(zoo, str(ref), shared)[1].sent_bytes == 0
    assert verify(zoo.remotes.connect(shared)).damages == ()
    delete(zoo, ref, shared)
    assert not restore(zoo, ref, shared).deleted
    theirs.remotes.add("lab", shared)
    fetched = fetch(theirs, "lab")
    assert fetched.damaged == {}
    names = {WHOLE: zoo.names.resolve("team/flowers")[1]} if ref == WHOLE else {}
    assert fetched.refs == names
    _, got = pull(theirs, str(ref), "lab")
    assert target(zoo, ref) == target(theirs, ref), "with all files"
    assert got.manifest == names.get(ref, target(zoo, ref)), "told is the checkpoint"
    assert got.sent == sent.sent
    assert_sound(theirs.store)
    assert protect(theirs, ref, None, on=True).protected
    assert not protect(theirs, ref, None, on=False).protected
    assert rename(theirs, ref, Reference("team", "new")).manifest == got.manifest
    assert target(theirs, Reference("team", "new")) == target(zoo, ref)


@pytest.mark.long
def test_files_are_restored_in_a_bucket(zoo: Workspace, s3: str) -> None:
    push(zoo, "team/readme", s3)
    delete(zoo, FILES, s3)
    assert restore(zoo, FILES, s3).manifest == target(zoo, FILES)


def test_a_push_hides_nobodys_files(zoo: Workspace, tmp_path: Path) -> None:
    shared, theirs = str(tmp_path / "shared"), Workspace.create(tmp_path / "theirs")
    push(zoo, "team/readme", shared)
    add_checkpoint(theirs, "team/readme", tensors(3))
    with pytest.raises(WouldReplace):
        push(theirs, "team/readme", shared)
