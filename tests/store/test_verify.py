"""Every kind of damage is found, and those who need what is damaged are named."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.places import Place, everywhere, flip, mirror

from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Parent
from zoo.domain.progress import Progress
from zoo.domain.reference import Reference
from zoo.errors import Unavailable
from zoo.store import Store
from zoo.store.folder import FolderBackend
from zoo.store.listing import name_of
from zoo.store.retry import Retrying
from zoo.store.verify import VerifyReport, verify
from zoo.transfer.sync import push
from zoo.workspace import Workspace

OLD, NAME, OTHER = "team/flowers (entry 1)", "team/flowers", "team/birds"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tests copy: `zoo`, and the folder of `deltas`."""
    folder = tmp_path_factory.mktemp("verify")
    make_zoo(folder / "zoo")
    make_deltas(folder)
    return folder


def make_zoo(root: Path) -> None:
    workspace = Workspace.create(root)
    values = tensors()
    add_checkpoint(workspace, NAME, tensors(1))
    add_checkpoint(workspace, NAME, values)
    add_checkpoint(workspace, OTHER, {**values, "fc.bias": values["fc.bias"] + 1})
    workspace.close()


@pytest.fixture
def zoo(made: Path, tmp_path: Path) -> Workspace:
    """A name that moved once, and another that shares all but a bias with its newest value."""
    shutil.copytree(made / "zoo", tmp_path / "zoo", dirs_exist_ok=True)
    return Workspace(tmp_path / "zoo")


@pytest.fixture
def full(zoo: Workspace, place: Place) -> Place:
    """A store that holds what `zoo` does; in a folder, it is that of `zoo`."""
    mirror(zoo.store, place)
    return place


def make_deltas(folder: Path) -> None:
    mine = Workspace.create(folder / "mine")
    values = tensors()
    base = add_checkpoint(mine, OTHER, values)
    conv = "layer1.0.conv.weight"
    tuned = {**values, conv: values[conv] * values[conv].dtype.type(1.0001)}
    add_checkpoint(
        mine, NAME, tuned, parents=(Parent(manifest=base, relation="finetune", ref=OTHER),)
    )
    for name in (OTHER, NAME):
        push(mine, name, str(folder / "team"), smallest=True)
    mine.close()


@pytest.fixture
def deltas(made: Path, place: Place) -> Place:
    """A remote that holds a base as it is or standing alone, and a delta against it."""
    mirror(Store.open(made / "team"), place)
    return place


def shared_object(zoo: Workspace) -> Digest:
    _, digest = zoo.names.resolve(NAME)
    return zoo.store.manifest(digest).weights[0].header


def digest_in(name: str) -> str:
    return f"blake3:{Path(name).stem}"


def only(report: VerifyReport) -> tuple[str, str, tuple[str, ...]]:
    (damage,) = report.damages
    return damage.kind, damage.name, damage.needed_by


def test_a_sound_store_has_no_damage(full: Place) -> None:
    report = verify(full.remote)
    names = full.names("objects", "manifests")
    assert report.damages == ()
    assert (report.files, report.bytes) == (len(names), sum(len(full.read(n)) for n in names))


@pytest.mark.parametrize(
    "harm",
    [
        flip,
        lambda place, name: flip(place, name, 0),
        lambda place, name: place.plant(name, place.read(name)[:-1]),
        lambda place, name: place.plant(name, b""),
        lambda place, name: place.plant(name, place.read(name) + b"\0"),
        lambda place, name: place.lose(name),
    ],
    ids=["last byte", "first byte", "truncated", "emptied", "longer", "deleted"],
)
def test_harm_to_any_file_is_found(
    zoo: Workspace, full: Place, harm: Callable[[Place, str], object]
) -> None:
    """By the name of what was harmed, and with a name of whoever needs it."""
    users = users_of(zoo)
    for name in full.names("objects", "manifests"):
        before = full.read(name)
        harm(full, name)
        found = {damage.name: damage for damage in verify(full.remote).damages}
        assert set(found) == {digest_in(name)}
        assert set(found[digest_in(name)].needed_by) == users[digest_in(name)]
        full.plant(name, before)
    assert verify(full.remote).damages == ()


def users_of(zoo: Workspace) -> dict[str, set[str]]:
    """What each object and manifest is needed by, worked out another way."""
    users: dict[str, set[str]] = {}
    for ref in zoo.store.refs():
        moves = zoo.store.history(ref)
        for move in moves:
            called = str(ref) if move is moves[-1] else f"{ref} (entry {move.number})"
            items = [item for item, _ in zoo.store.manifest(move.manifest).objects()]
            for digest in [move.manifest, *items]:
                users.setdefault(str(digest), set()).add(called)
    return users


@everywhere
def test_all_who_need_an_object_are_named(zoo: Workspace, full: Place) -> None:
    """One name needs it twice: now, and by the value that it had before."""
    digest = shared_object(zoo)
    flip(full, name_of("objects", digest))
    kind, name, needed_by = only(verify(full.remote))
    assert (kind, name) == ("object", str(digest))
    assert set(needed_by) == {NAME, OTHER, OLD}


def test_a_lost_manifest_is_missed_by_its_name(zoo: Workspace, full: Place) -> None:
    _, digest = zoo.names.resolve(OTHER)
    full.lose(name_of("manifests", digest))
    assert only(verify(full.remote)) == ("manifest", str(digest), (OTHER,))


@pytest.mark.parametrize("data", [b"junk", b"", b"{}"])
def test_a_damaged_ref_is_found(full: Place, data: bytes) -> None:
    full.plant(f"refs/{OTHER}/latest/00000001.json", data)
    kind, name, _ = only(verify(full.remote))
    assert (kind, name) == ("ref", OTHER)


def test_a_gap_in_a_history_is_found(full: Place) -> None:
    full.lose(f"refs/{NAME}/latest/00000001.json")
    kind, name, _ = only(verify(full.remote))
    assert (kind, name) == ("ref", NAME)


def test_what_is_no_part_of_a_store_is_found(full: Place) -> None:
    full.plant("objects/notes.txt", b"mine")
    (damage,) = verify(full.remote).damages
    assert (damage.name, damage.problem) == ("objects/notes.txt", "does not belong in a store")


def test_a_file_in_the_wrong_place_is_found(zoo: Workspace, full: Place) -> None:
    digest = shared_object(zoo)
    full.plant(f"objects/zz/{digest.hex}", full.read(name_of("objects", digest)))
    full.lose(name_of("objects", digest))
    found = {damage.name: damage.problem for damage in verify(full.remote).damages}
    assert found == {
        f"objects/zz/{digest.hex}": "is in the wrong folder",
        str(digest): "is missing",
    }


def test_encoded_objects_are_decoded_and_hashed(deltas: Place) -> None:
    forms = deltas.names("encoded")
    assert len(forms) > 1
    assert verify(deltas.remote).damages == ()
    for name in forms:
        flip(deltas, name)
    found = {damage.name: damage for damage in verify(deltas.remote).damages}
    assert set(found) == {digest_in(name) for name in forms}
    assert {damage.kind for damage in found.values()} == {"encoded object"}
    assert {name for damage in found.values() for name in damage.needed_by} == {NAME, OTHER}


@pytest.mark.parametrize("left", [0, 50, 200])
def test_an_encoded_object_that_was_cut_is_found(deltas: Place, left: int) -> None:
    name = deltas.names("encoded")[0]
    deltas.plant(name, deltas.read(name)[:left])
    assert digest_in(name) in {damage.name for damage in verify(deltas.remote).damages}


def test_progress_tells_of_every_byte(full: Place) -> None:
    told: Counter[str] = Counter()

    class Task:
        def __enter__(self) -> Task:
            return self

        def __exit__(self, *error: object) -> None: ...

        def advance(self, amount: float = 1, note: str = "") -> None:
            told["steps"] += 1
            told["bytes"] += int(amount)

    class Kept(Progress):
        def __call__(self, label: str, total: float | None, unit: str = "") -> Task:
            return Task()

    report = verify(full.remote, progress=Kept())
    assert told == {"steps": report.files, "bytes": report.bytes}


def test_a_place_that_does_not_answer_is_not_called_damaged(zoo: Workspace) -> None:
    class Down(FolderBackend):
        def open(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
            if key.startswith("objects/"):
                raise Unavailable("it", "stopped answering")
            return super().open(key, offset, length)

    with pytest.raises(Unavailable):
        verify(Store(Retrying(Down(zoo.root), pause=lambda _: None)))


def test_a_push_meanwhile_is_no_damage(zoo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has been listed when it begins."""
    files, history = Store.readable_files, Store.history
    seeds = iter(range(10, 30))

    def push_first(*_: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "history", history)
            patch.setattr(Store, "readable_files", files)
            add_checkpoint(zoo, f"team/new-{next(seeds)}", tensors(next(seeds)))

    def listed(self: Store, folder: str) -> object:
        push_first()
        return files(self, folder)  # type: ignore[arg-type]

    def told(self: Store, ref: Reference) -> tuple[RefEntry, ...]:
        moves = history(self, ref)
        if ref == Reference.parse(NAME):
            push_first()
        return moves

    monkeypatch.setattr(Store, "readable_files", listed)
    monkeypatch.setattr(Store, "history", told)
    assert verify(zoo.store).damages == ()
    assert next(seeds) >= 20  # it did happen


def test_what_is_larger_than_manifests_say_is_not_read_whole(
    zoo: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sparse file claims any size and takes no room: to hash it could take days."""
    slack = 1 << 20
    for module in ("proof", "verify"):
        monkeypatch.setattr(f"zoo.store.{module}.OBJECT_SLACK", slack)
    manifest = zoo.store.manifest(zoo.names.resolve(NAME)[1])
    digest, least = max(manifest.objects(), key=lambda item: item[1])
    path = zoo.store.path("objects", digest)
    path.chmod(0o644)
    os.truncate(path, 64 * slack)
    read, viewed = Counter[Digest](), Counter[Digest]()

    class Watched(Store):
        def read(
            self, kind: Kind, digest: Digest, offset: int = 0, length: int | None = None
        ) -> Iterator[bytes]:
            for piece in super().read(kind, digest, offset, length):
                read[digest] += len(piece)
                yield piece

        def view(self, kind: Kind, digest: Digest) -> memoryview:
            viewed[digest] += 1
            return super().view(kind, digest)

    (damage,) = verify(Watched(zoo.store.backend)).damages
    assert (damage.name, damage.mendable) == (str(digest), True)
    assert 0 < read[digest] <= 3 * (least + slack + 1)  # once for each checkpoint that needs it
    assert not viewed[digest]
