"""Every kind of damage is found, and those who need what is damaged are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, flip_byte, tensors

from zoo.domain.digest import Digest
from zoo.store import Store
from zoo.store.verify import Report, verify
from zoo.transfer.sync import push
from zoo.workspace import Workspace

OLD, NAME, OTHER = "team/flowers (move 1)", "team/flowers", "team/birds"


@pytest.fixture
def zoo(tmp_path: Path) -> Workspace:
    """A name that moved once, and another that shares all but a bias with its newest value."""
    workspace = Workspace.create(tmp_path / "zoo")
    values = tensors()
    add_checkpoint(workspace, NAME, tensors(1))
    add_checkpoint(workspace, NAME, values)
    add_checkpoint(workspace, OTHER, {**values, "fc.bias": values["fc.bias"] + 1})
    return workspace


def shared_object(zoo: Workspace) -> Digest:
    _, digest = zoo.resolve(NAME)
    return zoo.store.manifest(digest).weights[0].header


def replace(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def only(report: Report) -> tuple[str, str, tuple[str, ...]]:
    (damage,) = report.damages
    return damage.kind, damage.name, damage.needed_by


def test_a_sound_store_has_no_damage(zoo: Workspace) -> None:
    report = verify(zoo.store)
    paths = [p for kind in ("objects", "manifests") for p in (zoo.root / kind).rglob("*")]
    files = [path for path in paths if path.is_file()]
    assert report.damages == ()
    assert (report.files, report.bytes) == (len(files), sum(p.stat().st_size for p in files))


@pytest.mark.parametrize(
    "harm",
    [
        flip_byte,
        lambda path: flip_byte(path, 0),
        lambda path: replace(path, path.read_bytes()[:-1]),
        lambda path: replace(path, b""),
        lambda path: replace(path, path.read_bytes() + b"\0"),
        Path.unlink,
    ],
    ids=["last byte", "first byte", "truncated", "emptied", "longer", "deleted"],
)
@pytest.mark.parametrize("kind", ["objects", "manifests"])
def test_harm_to_any_file_is_found(
    zoo: Workspace, kind: str, harm: Callable[[Path], object]
) -> None:
    for path in sorted((zoo.root / kind).rglob("*")):
        if not path.is_file():
            continue
        before = path.read_bytes()
        harm(path)
        names = {damage.name for damage in verify(zoo.store).damages}
        assert f"blake3:{path.stem}" in names
        path.unlink(missing_ok=True)
        path.write_bytes(before)
    assert verify(zoo.store).damages == ()


def test_all_who_need_an_object_are_named(zoo: Workspace) -> None:
    """One name needs it twice: now, and by the value that it had before."""
    digest = shared_object(zoo)
    flip_byte(zoo.store.path("objects", digest))
    kind, name, needed_by = only(verify(zoo.store))
    assert (kind, name) == ("object", str(digest))
    assert set(needed_by) == {NAME, OTHER, OLD}


def test_a_lost_manifest_is_missed_by_its_name(zoo: Workspace) -> None:
    _, digest = zoo.resolve(OTHER)
    zoo.store.path("manifests", digest).unlink()
    assert only(verify(zoo.store)) == ("manifest", str(digest), (OTHER,))


def test_a_damaged_ref_is_found(zoo: Workspace) -> None:
    replace(zoo.root / "refs" / OTHER / "latest" / "00000001.json", b"junk")
    kind, name, _ = only(verify(zoo.store))
    assert (kind, name) == ("ref", OTHER)


def test_a_gap_in_a_history_is_found(zoo: Workspace) -> None:
    (zoo.root / "refs" / NAME / "latest" / "00000001.json").unlink()
    kind, name, _ = only(verify(zoo.store))
    assert (kind, name) == ("ref", NAME)


def test_what_is_no_part_of_a_store_is_found(zoo: Workspace) -> None:
    (zoo.root / "objects" / "notes.txt").write_text("mine")
    (damage,) = verify(zoo.store).damages
    assert damage.name.endswith("notes.txt")


def test_a_file_in_the_wrong_place_is_found(zoo: Workspace) -> None:
    path = zoo.store.path("objects", shared_object(zoo))
    wrong = zoo.root / "objects" / "zz"
    wrong.mkdir()
    path.rename(wrong / path.name)
    problems = {damage.problem for damage in verify(zoo.store).damages}
    assert problems == {"lies in the wrong place", "is missing"}


def test_encoded_objects_are_decoded_and_hashed(zoo: Workspace, tmp_path: Path) -> None:
    push(zoo, NAME, str(tmp_path / "team"))
    remote = Store.open(tmp_path / "team")
    forms = [path for path in (remote.root / "encoded").rglob("*") if path.is_file()]
    assert forms
    assert verify(remote).damages == ()
    for path in forms:
        flip_byte(path)
    found = {damage.name for damage in verify(remote).damages}
    assert found == {f"blake3:{path.stem}" for path in forms}
