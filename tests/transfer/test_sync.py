from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import (
    FailingStore,
    add_checkpoint,
    assert_sound,
    objects_in,
    store_checkpoint,
    tensors,
    tree,
)
from fakes.moves import append
from fakes.wired import Wired

from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.errors import Conflict, InvalidOption, InvalidReference, Unavailable, UnknownName
from zoo.store import Store
from zoo.transfer import proving
from zoo.transfer.copy import Copied, receive
from zoo.transfer.fetch import fetch
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace

NAME = "team/flowers"
REF = Reference("team", "flowers")
Make = Callable[[str], Workspace]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda name: Workspace.create(tmp_path / name)


@pytest.fixture
def mine(make: Make) -> Workspace:
    return make("mine")


@pytest.fixture
def theirs(make: Make) -> Workspace:
    return make("theirs")


@pytest.fixture
def shared(tmp_path: Path) -> str:
    return str(tmp_path / "shared")


class BusyStore(Store):
    """Somebody else moves the name to ``other`` while the manifest is on its way."""

    other: Digest

    def write(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> bool:
        if kind == "manifests":
            append(Store.open(self.root), REF, self.other, "push")
        return super().write(kind, digest, pieces)


def newest(place: Store) -> RefEntry:
    entry = place.read_ref(REF)
    assert entry is not None
    return entry


def test_what_one_pushes_another_pulls(mine: Workspace, theirs: Workspace, shared: str) -> None:
    digest = add_checkpoint(mine, NAME)
    ref, sent = push(mine, NAME, shared)
    assert (ref, sent.manifest) == (REF, digest)
    ref, got = pull(theirs, NAME, shared)
    assert (ref, got.manifest) == (REF, digest)
    assert got.sent_bytes == sent.sent_bytes
    assert theirs.names.resolve(NAME) == (REF, digest)
    assert theirs.registry.refs_of(digest) == [REF]
    assert objects_in(theirs.store) == objects_in(mine.store)


def test_a_second_push_sends_and_changes_nothing(mine: Workspace, shared: str) -> None:
    add_checkpoint(mine, NAME)
    push(mine, NAME, shared)
    before = tree(Path(shared))
    _, copied = push(mine, NAME, shared)
    assert (copied.sent_bytes, copied.sent_objects, copied.shared_objects) == (0, 0, 6)
    assert tree(Path(shared)) == before


def test_a_push_of_a_fine_tune_sends_what_changed(mine: Workspace, shared: str) -> None:
    values = tensors()
    add_checkpoint(mine, "timm/base", values)
    push(mine, "timm/base", shared)
    add_checkpoint(mine, NAME, {**values, "fc.weight": values["fc.weight"] * 2})
    _, copied = push(mine, NAME, shared)
    assert (copied.sent_objects, copied.shared_objects) == (1, 5)


def test_a_push_says_who_moved_the_name(mine: Workspace, shared: str) -> None:
    first = add_checkpoint(mine, NAME)
    push(mine, NAME, shared)
    second = add_checkpoint(mine, NAME, tensors(1))
    push(mine, NAME, shared)
    entry = newest(Store.open(Path(shared)))
    assert (entry.number, entry.manifest, entry.previous) == (2, second, first)
    assert (entry.by, entry.why) == ("tester", "push")


def test_a_tag_is_pushed_and_pulled_alone(mine: Workspace, theirs: Workspace, shared: str) -> None:
    digest = add_checkpoint(mine, f"{NAME}:v1")
    add_checkpoint(mine, NAME, tensors(1))
    push(mine, f"{NAME}:v1", shared)
    pull(theirs, f"{NAME}:v1", shared)
    assert theirs.names.resolve(f"{NAME}:v1")[1] == digest
    assert list(theirs.store.refs()) == [replace(REF, tag="v1")]


@pytest.mark.parametrize("fails_at", range(1, 8))
def test_a_push_cut_short_leaves_no_name(tmp_path: Path, fails_at: int) -> None:
    workspace = Wired(Workspace.create(tmp_path / "mine").root)
    remote = workspace.wire = FailingStore.create(tmp_path / "remote")
    add_checkpoint(workspace, NAME)
    remote.fails_at = fails_at
    with pytest.raises(Unavailable):
        push(workspace, NAME, "anywhere")
    assert list(remote.refs()) == []
    assert objects_in(remote, "manifests") == set()
    push(workspace, NAME, "anywhere")
    assert list(remote.refs()) == [REF]
    assert_sound(remote)


class TestMovedMeanwhile:
    @pytest.fixture
    def other(self, theirs: Workspace, shared: str) -> Digest:
        """A teammate's version, pushed under the same name."""
        digest = add_checkpoint(theirs, NAME, tensors(7))
        push(theirs, NAME, shared)
        return digest

    def test_a_push_is_refused(self, mine: Workspace, shared: str, other: Digest) -> None:
        add_checkpoint(mine, NAME)
        before = tree(Path(shared))
        with pytest.raises(Conflict) as caught:
            push(mine, NAME, shared)
        assert caught.value.current == str(other)
        assert tree(Path(shared)) == before

    def test_force_moves_it_and_keeps_the_history(
        self, mine: Workspace, shared: str, other: Digest
    ) -> None:
        digest = add_checkpoint(mine, NAME)
        push(mine, NAME, shared, force=True)
        history = Store.open(Path(shared)).history(REF)
        assert [move.manifest for move in history] == [other, digest]

    def test_a_push_after_a_pull_is_accepted(
        self, mine: Workspace, shared: str, other: Digest
    ) -> None:
        pull(mine, NAME, shared)
        digest = add_checkpoint(mine, NAME)
        push(mine, NAME, shared)
        assert newest(Store.open(Path(shared))).manifest == digest

    def test_a_push_of_its_child_is_accepted(
        self, mine: Workspace, shared: str, other: Digest
    ) -> None:
        pull(mine, NAME, shared)
        parent = Parent(manifest=other, relation="finetune", ref=NAME)
        fresh = Workspace.create(mine.root.parent / "fresh")  # never had the name before
        digest = add_checkpoint(fresh, NAME, parents=(parent,))
        push(fresh, NAME, shared)
        assert newest(Store.open(Path(shared))).manifest == digest

    @pytest.mark.parametrize("force", [False, True])
    def test_a_move_during_the_copy_is_seen(self, tmp_path: Path, force: bool) -> None:
        workspace = Wired(Workspace.create(tmp_path / "mine").root)
        remote = workspace.wire = BusyStore.create(tmp_path / "remote")
        remote.other = store_checkpoint(Store.open(remote.root), tensors(7))
        digest = add_checkpoint(workspace, NAME)
        if force:
            push(workspace, NAME, "anywhere", force=True)
            assert newest(remote).manifest == digest
            return
        with pytest.raises(Conflict):
            push(workspace, NAME, "anywhere")
        assert [move.manifest for move in remote.history(REF)] == [remote.other]


def test_push_needs_a_name(mine: Workspace, shared: str) -> None:
    digest = add_checkpoint(mine, NAME)
    with pytest.raises(InvalidOption, match="--as NAME"):
        push(mine, str(digest), shared)
    assert not Path(shared).exists()


def test_push_of_an_unknown_name_suggests_names(mine: Workspace, shared: str) -> None:
    add_checkpoint(mine, NAME)
    with pytest.raises(UnknownName) as caught:
        push(mine, "team/flower", shared)
    assert caught.value.near == (NAME,)
    assert not Path(shared).exists()


def test_pull_of_an_unknown_name_suggests_names_that_are_there(
    mine: Workspace, theirs: Workspace, shared: str
) -> None:
    for name in (NAME, "team/flowers:v1", "lab/zebra"):
        add_checkpoint(mine, name)
        push(mine, name, shared)
    with pytest.raises(UnknownName) as caught:
        pull(theirs, "team/flowrs", shared)
    assert caught.value.near[0] == NAME
    assert "lab/zebra" not in caught.value.near
    assert list(theirs.store.refs()) == []


def test_pull_shows_what_is_there_when_nothing_is_near(
    mine: Workspace, theirs: Workspace, shared: str
) -> None:
    add_checkpoint(mine, NAME)
    push(mine, NAME, shared)
    with pytest.raises(UnknownName) as caught:
        pull(theirs, "zzzz/qqqq", shared)
    assert caught.value.near == (NAME,)


def test_pull_from_nowhere_creates_nothing(mine: Workspace, shared: str) -> None:
    with pytest.raises(Unavailable, match="does not exist"):
        pull(mine, NAME, shared)
    assert not Path(shared).exists()


def test_pull_needs_a_reference(mine: Workspace, shared: str) -> None:
    with pytest.raises(InvalidReference):
        pull(mine, "../flowers", shared)


def test_a_pull_again_changes_nothing(mine: Workspace, theirs: Workspace, shared: str) -> None:
    add_checkpoint(mine, NAME)
    push(mine, NAME, shared)
    pull(theirs, NAME, shared)
    _, copied = pull(theirs, NAME, shared)
    assert (copied.sent_bytes, copied.sent_objects) == (0, 0)
    assert len(theirs.store.history(REF)) == 1
    assert newest(theirs.store).why == f"pull from {shared}"


def test_a_fetch_during_a_pull_is_not_undone(
    mine: Workspace, theirs: Workspace, shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy may take hours: what the pull saw first is older than what was fetched meanwhile."""
    add_checkpoint(mine, NAME)
    push(mine, NAME, shared)
    theirs.remotes.add("team", shared)

    def and_fetch(remote: Store, *more: Any) -> Copied:
        copied = receive(remote, *more)
        add_checkpoint(mine, NAME, tensors(1))
        push(mine, NAME, shared)
        fetch(theirs, "team")
        return copied

    monkeypatch.setattr("zoo.transfer.sync.receive", and_fetch)
    pull(theirs, NAME, "team")
    assert theirs.registry.remote_refs("team")[REF].manifest == mine.names.resolve(NAME)[1]


def test_an_interrupt_before_the_first_object_ends_a_pull(
    mine: Workspace, theirs: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What proves the files waits for objects, which do not come any more."""
    add_checkpoint(mine, NAME, tensors())
    push(mine, NAME, str(theirs.root))

    class Interrupted(ThreadPoolExecutor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **how: Any) -> Any:
            super().submit(fn, *args, **how)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, closing(Workspace.create(mine.root / "other")) as other:
        patch.setattr(proving, "ThreadPoolExecutor", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            pull(other, NAME, str(theirs.root))
