from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from fakes.checkpoints import entry, flip_byte, objects_in, store_checkpoint, tree

from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.errors import (
    Corrupt,
    Forbidden,
    InvalidManifest,
    MissingObject,
    Unavailable,
    Unsupported,
)
from zoo.remotes import connect
from zoo.store import Store
from zoo.store.disk import Disk

FLOWERS = Reference("team", "flowers")
BODY = b"some bytes"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "zoo")


def test_create_keeps_a_store_that_is_there(store: Store) -> None:
    digest = store.put("objects", BODY)
    before = tree(store.root)
    assert Store.create(store.root).missing("objects", [digest]) == set()
    assert tree(store.root) == before


def test_the_marker_says_the_format(store: Store) -> None:
    assert json.loads((store.root / "zoo.json").read_text()) == {"format": 1}


@pytest.mark.parametrize("opened", [Store.open, Store.create])
def test_an_unknown_format_is_refused(store: Store, opened: Callable[[Path], Store]) -> None:
    (store.root / "zoo.json").chmod(0o644)
    (store.root / "zoo.json").write_text('{"format": 3}')
    with pytest.raises(Unsupported, match="format 3; this program reads 1 and 2"):
        opened(store.root)


@pytest.mark.parametrize("marker", ["", "no json", "[]", "{}", "\0\xff"])
def test_an_unreadable_marker_is_no_store(tmp_path: Path, marker: str) -> None:
    (tmp_path / "zoo.json").write_text(marker, encoding="latin-1")
    with pytest.raises(Unavailable, match=r"zoo\.json.*cannot be read"):
        Store.open(tmp_path)


def test_open_tells_an_absent_folder_from_one_that_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not exist"):
        Store.open(tmp_path / "absent")
    with pytest.raises(Unavailable, match="is not a zoo store"):
        Store.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_object_is_named_by_the_blake3_of_its_bytes(store: Store) -> None:
    digest = store.put("objects", BODY)
    name = blake3(BODY).hexdigest()
    assert str(digest) == f"blake3:{name}"
    assert (store.root / "objects" / name[:2] / name).read_bytes() == BODY


def test_every_file_of_the_store_is_read_only(store: Store) -> None:
    store.append_ref(FLOWERS, entry(1, store_checkpoint(store)))
    files = [path for path in store.root.rglob("*") if path.is_file()]
    assert {path.relative_to(store.root).parts[0] for path in files} == {
        "objects",
        "manifests",
        "refs",
        "zoo.json",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o444}


def test_the_layout_of_a_ref(store: Store) -> None:
    store.append_ref(replace(FLOWERS, tag="v1"), entry(1, store.put("manifests", BODY)))
    assert (store.root / "refs/team/flowers/v1/00000001.json").is_file()


def test_tmp_is_empty_after_success(store: Store) -> None:
    store.append_ref(FLOWERS, entry(1, store_checkpoint(store)))
    assert list(store.staging.iterdir()) == []


def test_tmp_is_empty_after_failure(store: Store) -> None:
    with pytest.raises(Corrupt):
        store.write("objects", Digest("blake3", "0" * 64), [BODY])
    assert list(store.staging.iterdir()) == []
    assert objects_in(store) == set()


def test_a_damaged_manifest_is_corrupt(store: Store) -> None:
    digest = store_checkpoint(store)
    flip_byte(store.path("manifests", digest))
    with pytest.raises(Corrupt) as caught:
        store.manifest(digest)
    assert caught.value.expected == str(digest)


def test_a_missing_manifest_is_named(store: Store) -> None:
    digest = Digest("blake3", "0" * 64)
    with pytest.raises(MissingObject, match=f"manifest {digest}"):
        store.manifest(digest)


def test_bytes_that_are_no_manifest_are_invalid(store: Store) -> None:
    with pytest.raises(InvalidManifest):
        store.manifest(store.put("manifests", BODY))


def test_a_damaged_ref_entry_is_invalid(store: Store) -> None:
    store.append_ref(FLOWERS, entry(1, store.put("manifests", BODY)))
    path = store.root / "refs/team/flowers/latest/00000001.json"
    path.chmod(0o644)
    path.write_text("{}")
    with pytest.raises(InvalidManifest):
        store.read_ref(FLOWERS)


def test_files_of_others_among_the_refs_are_passed_over(store: Store) -> None:
    store.append_ref(FLOWERS, entry(1, store.put("manifests", BODY)))
    (store.root / "refs/.DS_Store").write_text("")
    (store.root / "refs/team/flowers/latest/.00000002.json.swp").write_text("")
    (store.root / "refs/team/.cache/x").mkdir(parents=True)
    (store.root / "refs/team/roses/latest").mkdir(parents=True)
    assert list(store.refs()) == [FLOWERS]
    assert [move.number for move in store.history(FLOWERS)] == [1]


def test_a_file_that_goes_while_names_are_listed_hides_no_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = entry(1, store.put("manifests", BODY))
    store.append_ref(FLOWERS, move)
    swap = store.root / "refs/team/flowers/latest/.00000001.json.swp"
    swap.touch()
    scandir = os.scandir

    @contextmanager
    def gone(folder: int) -> Iterator[list[os.DirEntry[str]]]:
        with scandir(folder) as found:
            items = list(found)
        if swap.name in [item.name for item in items]:
            swap.unlink()
        yield items

    monkeypatch.setattr(os, "scandir", gone)
    assert store.read_ref(FLOWERS) == move
    assert not swap.exists()


class TestConnect:
    def test_makes_the_folder_when_asked(self, tmp_path: Path) -> None:
        connect(str(tmp_path / "new"), create=True)
        assert Store.open(tmp_path / "new").root == tmp_path / "new"

    def test_makes_nothing_unasked(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match="does not exist"):
            connect(str(tmp_path / "new"), create=False)
        assert list(tmp_path.iterdir()) == []

    def test_fills_an_empty_folder(self, tmp_path: Path) -> None:
        connect(str(tmp_path), create=True)
        assert (tmp_path / "zoo.json").is_file()

    def test_opens_what_is_there(self, store: Store) -> None:
        digest = store.put("objects", BODY)
        for create in (True, False):
            found = connect(str(store.root), create=create)
            assert found.missing("objects", [digest]) == set()

    def test_leaves_a_folder_of_other_things_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("mine")
        with pytest.raises(Unavailable, match="not an empty folder"):
            connect(str(tmp_path), create=True)
        assert tree(tmp_path) == {"thesis.tex": b"mine"}

    def test_leaves_a_file_alone(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(Unavailable):
            connect(str(tmp_path / "file"), create=True)
        assert (tmp_path / "file").read_text() == "mine"

    def test_makes_no_chain_of_folders(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match="does not exist"):
            connect(str(tmp_path / "typo" / "zoo"), create=True)
        assert list(tmp_path.iterdir()) == []

    def test_knows_the_home_folder(self, isolated: Path) -> None:
        connect("~/zoo", create=True)
        assert (isolated / "zoo/zoo.json").is_file()


def test_somebody_else_writes_the_same_in_a_sticky_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename over the file of another user is forbidden there, and not needed."""
    store, data = Store.create(tmp_path / "store"), b"the same bytes"
    renaming = Disk.rename

    def rename(disk: Disk, name: str, target: str) -> bool:
        renaming(disk, name, target)
        raise Forbidden(target, "it belongs to somebody else", "")

    monkeypatch.setattr(Disk, "rename", rename)
    digest = Digest("blake3", blake3(data).hexdigest())
    assert not store.write("objects", digest, [data])
    assert b"".join(store.read("objects", digest)) == data
    assert list(store.staging.iterdir()) == []
