"""Signatures in every kind of store: they are sent, found, brought, verified and pruned."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, stored_snapshot, tensors
from fakes.places import Place, ago, everywhere, flip
from fakes.signing_keys import make_key

import zoo
from zoo.errors import Unsigned
from zoo.store.signatures import FOLDER

NAME = "team/net"


@everywhere
def test_it_is_there_wherever_it_was_pushed(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.reflog.now", lambda: "2026-01-01T00:00:00Z")
    alice = make_key(tmp_path, "alice")
    with zoo.init(tmp_path / "mine") as mine:
        add_checkpoint(mine.workspace, NAME)
        mine.push(NAME, place.location)
        mine.add_signer("alice", alice.public)
        mine.require_signatures("enforce")
        with zoo.init(tmp_path / "theirs") as theirs:
            with pytest.raises(Unsigned, match="nobody has signed it"):
                theirs.pull(NAME, remote=place.location)
            mine.sign(NAME, alice.private)
            mine.push(NAME, place.location)
            done = theirs.pull(NAME, remote=place.location)
            assert done.copied
            assert done.copied.signed_by == "alice"
            assert [one.signer for one in theirs.signatures(NAME)] == ["alice"]
        (name,) = place.names(FOLDER)
        assert not mine.verify(place.location).damages
        # The name moves on, and a prune takes what it left.
        add_checkpoint(mine.workspace, NAME, tensors(1))
        mine.push(NAME, place.location, force=True)
        for each in place.names("manifests", "encoded-manifests", "objects", "refs", FOLDER):
            place.age(each, ago(9000))
        plan = mine.plan_prune(place.location, keep_days=0, grace_days=0)
        assert [item.file for item in plan.doomed if item.kind == "signature"] == [name]
        mine.prune(plan, place.location, keep_days=0, grace_days=0)
        assert place.names(FOLDER) == []


@everywhere
def test_one_that_is_damaged_is_told_and_does_not_count(place: Place, tmp_path: Path) -> None:
    alice = make_key(tmp_path, "alice")
    with zoo.init(tmp_path / "mine") as mine:
        add_checkpoint(mine.workspace, NAME)
        mine.sign(NAME, alice.private)
        mine.push(NAME, place.location)
        (name,) = place.names(FOLDER)
        flip(place, name)
        mine.add_signer("alice", alice.public)
        mine.require_signatures("enforce")
        theirs = zoo.init(tmp_path / "theirs")
        with theirs, pytest.raises(Unsigned, match="damaged"):
            theirs.pull(NAME, remote=place.location)
        damages = mine.verify(place.location).damages
        assert [(each.kind, each.name) for each in damages] == [("signature", name)]
        place.lose(name)
        mine.push(NAME, place.location)
        assert place.names(FOLDER) == [name]


def test_of_a_repository_of_files_all_of_them_are_signed(tmp_path: Path) -> None:
    alice = make_key(tmp_path, "alice")
    with zoo.init(tmp_path / "mine") as mine:
        snapshot = stored_snapshot(mine.workspace.store, {"README.md": b"hello", "a/b.bin": b"1"})
        mine.workspace.move(zoo.Reference.parse(NAME), snapshot, "test")
        signature = mine.sign(NAME, alice.private)
        assert signature.manifest == snapshot
        (one,) = mine.signatures(NAME, keys=[alice.public])
        assert not one.problem
        mine.push(NAME, str(tmp_path / "lab"))
        mine.add_signer("alice", alice.public)
        mine.require_signatures("enforce")
    with zoo.init(tmp_path / "theirs") as theirs:
        done = theirs.pull(NAME, remote=str(tmp_path / "lab"))
        assert done.copied
        assert done.copied.signed_by == "alice"
        exported = theirs.export_signed(NAME, tmp_path / "out", all_files=True)
        assert (tmp_path / "out/a/b.bin").read_bytes() == b"1"
        assert [file.name for file in exported.files] == ["README.md", "b.bin", "zoo-manifest.json"]
