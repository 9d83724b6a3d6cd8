"""A full disk, a real one where mounting is allowed: nothing is half there, all of it can be done
again, and a prune makes room.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import work
from fakes.checkpoints import add_checkpoint, assert_sound, raw_file
from fakes.forks import Forks
from fakes.program import zoo
from fakes.small_disk import Disk, small_disk

from zoo.domain.reference import Reference
from zoo.errors import DiskFull, Unavailable
from zoo.reflog import append_deletion
from zoo.store import Store
from zoo.store.verify import verify
from zoo.workspace import Workspace

NAME = "team/flowers"
REF = Reference.parse(NAME)
KIB = 1024
SIZE = 2048 * KIB
ROOM = range(0, 176 * KIB, 12 * KIB)
"""Free space, from none to enough for anything below."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", SIZE) as disk:
        yield disk


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return work.save(tmp_path / "in.safetensors", 1)


@pytest.fixture
def far(tmp_path: Path, weights: Path) -> Path:
    """A zoo elsewhere, with a checkpoint."""
    root = tmp_path / "far"
    Workspace.create(root).close()
    work.import_file(str(root), str(weights), NAME)
    return root


def make_zoo(disk: Disk) -> Path:
    """A zoo on the small disk, with something to lose."""
    root = disk.root / "zoo"
    Workspace.create(root).close()
    old = work.save(disk.root.parent / "old.safetensors", 0)
    work.import_file(str(root), str(old), "team/old")
    return root


def files_in(store: Store) -> set[str]:
    return {path.name for path in store.staging.rglob("*") if path.is_file()}


def assert_filled(disk: Disk, root: Path, again: Callable[[], object]) -> None:
    """At every size of room: it is done, or the disk is full and nothing is half there."""
    store, refused = Store.open(root), 0
    for room in ROOM:
        disk.fill(leave=room)
        before = {ref: store.history(ref) for ref in store.refs()}
        try:
            again()
        except (DiskFull, Unavailable) as error:
            # SQLite calls it an I/O error where it has no room to begin.
            if isinstance(error, Unavailable) and not error.what.endswith("registry.db"):
                raise
            refused += 1
        assert files_in(store) == set()
        assert verify(store).damages == ()
        assert all(store.history(ref) == moves for ref, moves in before.items())
        disk.relieve()
        if REF in set(store.refs()):
            break
    assert refused > 0
    again()
    assert REF in set(store.refs())
    assert_sound(store)


class TestRealDisk:
    def test_import(self, disk: Disk, weights: Path) -> None:
        root = make_zoo(disk)
        assert_filled(disk, root, lambda: work.import_file(str(root), str(weights), NAME))
        assert_indexed(root)

    def test_push(self, disk: Disk, far: Path) -> None:
        shared = Store.create(disk.root / "shared").root
        assert_filled(disk, shared, lambda: work.push(str(far), NAME, str(shared)))

    def test_pull(self, disk: Disk, far: Path, tmp_path: Path) -> None:
        shared = tmp_path / "shared"
        work.push(str(far), NAME, str(shared))
        root = make_zoo(disk)
        assert_filled(disk, root, lambda: work.pull(str(root), NAME, str(shared)))
        assert_indexed(root)

    def test_tag(self, disk: Disk) -> None:
        root = make_zoo(disk)
        _, digest = Workspace(root).names.resolve("team/old")
        assert_filled(disk, root, lambda: work.tag(str(root), str(digest), NAME))
        assert_indexed(root)

    def test_a_new_remote(self, disk: Disk, far: Path) -> None:
        shared = disk.root / "shared"
        for room in range(0, 24 * KIB, 4 * KIB):
            disk.fill(leave=room)
            with pytest.raises(DiskFull):
                work.push(str(far), NAME, str(shared))
            disk.relieve()
        work.push(str(far), NAME, str(shared))
        assert_sound(Store.open(shared))

    def test_a_prune_makes_room(self, disk: Disk, far: Path) -> None:
        shared = disk.root / "shared"
        work.push(str(far), NAME, str(shared))
        store = Store.open(shared)
        append_deletion(store, REF)
        disk.fill()
        assert work.prune(str(shared)) > 0
        assert disk.free() > 64 * KIB
        assert verify(store).damages == ()
        disk.relieve()
        work.push(str(far), NAME, str(shared))
        assert_sound(store)

    def test_a_prune_makes_room_in_the_own_zoo(self, disk: Disk) -> None:
        """Its index cannot be written before, but must be afterwards."""
        root = disk.root / "zoo"
        workspace = Workspace.create(root)
        gone = add_checkpoint(workspace, NAME)
        workspace.close()
        zoo("--home", root, "delete", NAME).done()
        disk.fill()
        zoo("--home", root, "tag", str(gone), "team/other").refused("no space left")
        zoo("--home", root, "prune", "--keep", "0", "--grace", "0", "--yes").done()
        assert disk.free() > 64 * KIB
        zoo("--home", root, "verify").done()
        with Workspace(root).registry as registry:
            assert registry.unknown([gone]) == {gone}

    def test_a_file_of_the_user_stays_as_it_was(self, disk: Disk, far: Path) -> None:
        target = disk.root / "model.safetensors"
        target.write_bytes(b"mine")
        disk.fill(leave=32 * KIB)
        with pytest.raises(DiskFull):
            work.restore(str(far), NAME, str(target))
        assert target.read_bytes() == b"mine"
        assert {path.name for path in disk.root.iterdir()} == {"ballast", target.name}


def assert_indexed(root: Path) -> None:
    zoo = Workspace(root)
    assert zoo.registry.ref(REF) == zoo.names.resolve(NAME)[1]
    zoo.close()


class TestLimit:
    """Where nothing can be mounted: RLIMIT_FSIZE makes longer writes fail as a full disk does."""

    LARGE = 40_000

    @pytest.fixture
    def store(self, far: Path) -> Store:
        return Store.open(far)

    def limited(self, forks: Forks, what: str, limit: int, *args: object) -> None:
        ended = forks.run("limited", what, limit, *map(str, args))
        assert (ended.status, ended.said) == (0, "DiskFull")

    def test_a_write_that_is_cut_short(self, forks: Forks, store: Store, tmp_path: Path) -> None:
        path = tmp_path / "large.safetensors"
        header = {"a": {"dtype": "U8", "shape": [200_000], "data_offsets": [0, 200_000]}}
        path.write_bytes(raw_file(header, random.Random(0).randbytes(200_000)))
        self.limited(forks, "import", self.LARGE, store.root, path, "team/large")
        assert files_in(store) == set()
        assert [str(ref) for ref in store.refs()] == [NAME]
        assert all(p.stat().st_size < 80_000 for p in store.root.glob("objects/??/*"))
        assert_sound(store)

    def test_push(self, forks: Forks, store: Store, tmp_path: Path) -> None:
        shared = Store.create(tmp_path / "shared")
        self.limited(forks, "push", self.LARGE, store.root, NAME, shared.root)
        assert files_in(shared) == set()
        assert list(shared.refs()) == []
        assert verify(shared).damages == ()

    def test_tag(self, forks: Forks, store: Store) -> None:
        moves = store.history(REF)
        digest = moves[0].manifest
        self.limited(forks, "tag", 10, store.root, digest, "team/other")
        assert list(store.refs()) == [REF]
        assert files_in(store) == set()

    @pytest.mark.long
    def test_restore(self, forks: Forks, store: Store, tmp_path: Path) -> None:
        target = tmp_path / "out.safetensors"
        target.write_bytes(b"mine")
        self.limited(forks, "restore", self.LARGE, store.root, NAME, target)
        assert target.read_bytes() == b"mine"
        assert [path.name for path in tmp_path.glob("tmp*")] == []
