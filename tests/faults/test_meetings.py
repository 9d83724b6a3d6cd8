"""What random kills and races found, each once more, step by step."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fakes import work
from fakes.checkpoints import add_checkpoint, store_checkpoint, tensors

from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.errors import Conflict, Corrupt, MissingObject, Unavailable
from zoo.reflog import append_deletion
from zoo.remotes import connect
from zoo.store import Store
from zoo.store.encoded import encoded_header, read_encoded
from zoo.store.prune import execute, plan
from zoo.store.verify import verify
from zoo.transfer.sync import push
from zoo.workspace import Workspace

NAME = "team/flowers"
REF = Reference.parse(NAME)
MONTH = timedelta(days=30)


@pytest.fixture
def zoo(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "zoo")


@pytest.fixture
def shared(tmp_path: Path) -> Store:
    """A remote that holds a base and, as deltas, a fine-tune of it."""
    root = tmp_path / "far"
    Workspace.create(root).close()
    path = work.save(tmp_path / "in.safetensors", 1)
    base = work.import_file(str(root), str(path), "team/base")
    work.save(path, 1, scale=1.0001)
    work.import_file(str(root), str(path), NAME, base)
    for name in ("team/base", NAME):
        push(Workspace(root), name, str(tmp_path / "shared"), smallest=name == "team/base")
    return Store.open(tmp_path / "shared")


def encoded(store: Store) -> dict[Digest, Digest | None]:
    """The base of each encoded object."""
    held = [Digest("blake3", path.stem) for path in sorted(store.root.glob("encoded/??/*"))]
    return {digest: encoded_header(store, digest).base for digest in held}


class TestCutShort:
    def test_a_store_that_was_being_made(self, tmp_path: Path) -> None:
        (tmp_path / "shared" / "objects").mkdir(parents=True)
        (tmp_path / "shared" / "tmp").mkdir()
        (tmp_path / "shared" / "tmp" / "tmpabcdefgh").touch()
        connect(str(tmp_path / "shared"), create=True)
        assert (tmp_path / "shared" / "zoo.json").exists()

    @pytest.mark.parametrize("stray", ["photo.jpg", "objects/ab/cd"])
    def test_a_folder_that_holds_things_is_none(self, tmp_path: Path, stray: str) -> None:
        path = tmp_path / "shared" / stray
        path.parent.mkdir(parents=True)
        path.touch()
        with pytest.raises(Unavailable):
            connect(str(tmp_path / "shared"), create=True)

    def test_a_prune_between_the_mark_and_the_deletion(self, zoo: Workspace) -> None:
        digest = add_checkpoint(zoo, NAME)
        zoo.store.remember_pruned(digest)
        assert not zoo.store.was_pruned(digest)
        zoo.close()
        (zoo.root / "registry.db").unlink()
        assert Workspace(zoo.root).registry.ref(REF) == digest

    def test_a_prune_deletes_deltas_before_their_bases(self, shared: Store) -> None:
        """Else a later push would take a delta without a base for the object."""
        bases = encoded(shared)
        assert set(bases.values()) > {None}
        for ref in list(shared.refs()):
            append_deletion(shared, ref)
        shown = plan(shared, keep=work.AT_ONCE, grace=work.AT_ONCE)
        order = [Digest.parse(d.name) for d in shown.doomed if d.kind == "encoded object"]
        assert set(order) == set(bases)
        for delta, base in bases.items():
            assert base not in order or order.index(delta) < order.index(base)

    def test_a_delete_before_the_index(self, zoo: Workspace) -> None:
        add_checkpoint(zoo, NAME)
        append_deletion(zoo.store, REF)
        assert zoo.registry.ref(REF) is not None
        with pytest.raises(Exception, match=NAME):
            zoo.delete(REF)
        assert zoo.registry.ref(REF) is None

    def test_a_scratch_folder(self, zoo: Workspace) -> None:
        add_checkpoint(zoo, NAME)
        folder = zoo.store.staging / "tmpabcdefgh" / "inner"
        folder.mkdir(parents=True)
        (folder / "file").touch()
        work.prune(str(zoo.root))
        assert [path.name for path in zoo.store.staging.iterdir()] == ["uploads"]

    def test_an_empty_scratch_folder(self, zoo: Workspace) -> None:
        """It may be in use for a day."""
        folder = zoo.store.staging / "tmpabcdefgh"
        folder.mkdir()
        work.prune(str(zoo.root))
        assert folder.exists()
        yesterday = time.time() - 25 * 3600
        os.utime(folder, (yesterday, yesterday))
        work.prune(str(zoo.root))
        assert not folder.exists()

    def test_a_damaged_header_is_no_missing_object(self, shared: Store) -> None:
        digest = next(delta for delta, base in encoded(shared).items() if base)
        path = shared.path("encoded", digest)
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[20] ^= 1  # in the digest of the base
        path.write_bytes(data)
        with pytest.raises(Corrupt):
            read_encoded(shared, digest, least=1)


class TestMeet:
    def test_of_two_encodings_the_first_stays(self, shared: Store) -> None:
        """Another writer may be coding against it, and it must not become a delta meanwhile."""
        bases = encoded(shared)
        digest, other = sorted(bases)[:2]
        first = b"".join(shared.read("encoded", digest))
        second = b"".join(shared.read("encoded", other))
        path = shared.path("encoded", digest)
        path.unlink()

        def late() -> list[bytes]:
            yielded = [second]
            path.write_bytes(first)  # while the other's bytes are on their way
            return yielded

        class Late:
            def __iter__(self):  # type: ignore[no-untyped-def]
                return iter(late())

        assert not shared.write("encoded", digest, Late())
        assert path.read_bytes() == first

    def test_two_prunes_have_two_signs(self, zoo: Workspace) -> None:
        """Or the first one done would let uploads in while the other deletes."""
        with zoo.store.pruning():
            with pytest.raises(Conflict, match="another prune"), zoo.store.pruning():
                pass
            with pytest.raises(Conflict, match="prune"), zoo.store.upload():
                pass
        with zoo.store.upload():
            pass

    def test_a_prune_that_gives_way_does_not_stop_the_upload(self, zoo: Workspace) -> None:
        with zoo.store.upload():
            (zoo.store.staging / "prune-other").touch()
            add_checkpoint(zoo, NAME)
        with pytest.raises(Conflict):
            add_checkpoint(zoo, NAME, tensors(1))

    def test_a_name_is_not_moved_to_what_a_prune_deletes(self, zoo: Workspace) -> None:
        digest = store_checkpoint(zoo.store)
        with zoo.store.pruning(), pytest.raises(Conflict):
            zoo.move(REF, digest, "tag")
        work.prune(str(zoo.root))
        with pytest.raises(MissingObject):
            zoo.move(REF, digest, "tag")
        assert list(zoo.store.refs()) == []

    def test_a_plan_while_files_come_and_go(
        self, zoo: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = zoo.store.staging / "tmpabcdefgh"
        path.touch()
        lstat = Path.lstat

        def gone(self: Path) -> os.stat_result:
            if self == path:
                path.unlink(missing_ok=True)
            return lstat(self)

        monkeypatch.setattr(Path, "lstat", gone)
        assert plan(zoo.store, keep=MONTH, grace=MONTH).doomed == ()

    def test_a_plan_while_another_prune_deletes(
        self, zoo: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        digest = add_checkpoint(zoo, NAME)
        read = Store.read

        def gone(self: Store, kind: Kind, asked: Digest, *part: int) -> Iterator[bytes]:
            if not self.missing("manifests", [digest]):
                append_deletion(self, REF)
                self.remember_pruned(digest)
                self.path("manifests", digest).unlink()
            return read(self, kind, asked, *part)

        monkeypatch.setattr(Store, "read", gone)
        assert {item.kind for item in plan(zoo.store, keep=MONTH, grace=-MONTH).doomed} == {
            "object"
        }

    def test_a_prune_that_keeps_more_than_the_last_one(self, zoo: Workspace) -> None:
        """What it would keep is gone, which is no damage."""
        add_checkpoint(zoo, NAME)
        add_checkpoint(zoo, NAME, tensors(1))
        work.prune(str(zoo.root))
        time.sleep(0.01)
        shown = plan(zoo.store, keep=MONTH, grace=timedelta(0))
        assert execute(zoo.store, shown, keep=MONTH, grace=timedelta(0)).doomed == ()
        assert verify(zoo.store).damages == ()
