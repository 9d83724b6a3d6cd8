"""A remote that was asked ahead of a push is not asked for the same again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from fakes.checkpoints import add_checkpoint

from zoo.contracts import Kind
from zoo.domain.stored import Stored
from zoo.store import Store
from zoo.testing.memory import MemoryBackend
from zoo.transfer.ahead import asked_ahead
from zoo.workspace import Workspace

FORMS: tuple[tuple[Kind, Kind], ...] = (
    ("objects", "encoded"),
    ("manifests", "encoded-manifests"),
)


class Counted(MemoryBackend):
    asked = 0

    def stat(self, key: str) -> Stored | None:
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
        remote = asked_ahead(Store(inner), mine.store, digest)
        assert inner.asked == 2 * len({digest, *items}) - 1
        for kinds, digests in zip(FORMS, (items, [digest]), strict=True):
            plain = remote.missing(kinds[0], digests)
            assert plain == {*digests} - {present}
            assert remote.missing(kinds[1], plain) == plain
        assert inner.asked == 2 * len({digest, *items}) - 1
