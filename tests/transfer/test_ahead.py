"""A remote that was asked ahead of a push is not asked for the same again."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint

from zoo.contracts import Kind
from zoo.domain.reference import Reference
from zoo.domain.stored import StoredFile
from zoo.errors import Conflict
from zoo.remotes import Remotes
from zoo.store import Store
from zoo.store.encoded import absent
from zoo.store.prune import execute, plan
from zoo.testing.memory import MemoryBackend
from zoo.transfer import names
from zoo.transfer.ahead import asked_ahead
from zoo.transfer.sync import push
from zoo.workspace import Workspace

FORMS: tuple[tuple[Kind, Kind], ...] = (
    ("objects", "encoded"),
    ("manifests", "encoded-manifests"),
)


class Counted(MemoryBackend):
    asked = 0

    def stat(self, key: str) -> StoredFile | None:
        self.asked += 1
        return super().stat(key)


def test_both_forms_are_known(tmp_path: Path) -> None:
    """Of what is there as it is, the other form is not asked for."""
    inner = Counted()
    with closing(Workspace.create(tmp_path / "zoo")) as mine:
        digest = add_checkpoint(mine, "a/b")
        items = [item for item, _ in mine.store.document(digest).objects()]
        present = Store(inner).put("objects", b"".join(mine.store.read("objects", items[0])))
        inner.asked = 0
        remote = asked_ahead(Store(inner), mine.store, digest, Reference("team", "net"))
        assert inner.asked == 2 * len({digest, *items}) - 1
        for kinds, digests in zip(FORMS, (items, [digest]), strict=True):
            plain = remote.missing(kinds[0], digests)
            assert plain == {*digests} - {present}
            assert remote.missing(kinds[1], plain) == plain
        assert inner.asked == 2 * len({digest, *items}) - 1


class Pruned(MemoryBackend):
    """Somebody prunes it, or tries to, once it has been asked for an object."""

    armed = False
    refused = 0

    def stat(self, key: str) -> StoredFile | None:
        found = super().stat(key)
        if self.armed and key.startswith("objects/"):
            self.armed = False
            try:
                store, now = Store(self), timedelta(seconds=-5)
                execute(store, plan(store, keep=now, grace=now), keep=now, grace=now)
            except Conflict:
                self.refused += 1
        return found


def test_what_a_push_was_told_is_there_is_not_pruned_before_it_is_relied_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It announces itself before it asks."""
    inner = Pruned()
    remote = Store.connect(inner, create=True)
    monkeypatch.setattr(Remotes, "connect", lambda *_, **__: remote)
    with closing(Workspace.create(tmp_path / "zoo")) as mine:
        digest = add_checkpoint(mine, "a/b")
        push(mine, "a/b", "there")
        names.delete(mine, Reference.parse("a/b"), "there")
        mine.move(Reference.parse("a/c"), digest, "tag")
        inner.armed = True
        push(mine, "a/c", "there")
        assert inner.refused == 1
        needed = [item for item, _ in mine.store.document(digest).objects()]
        assert not absent(remote, needed)
