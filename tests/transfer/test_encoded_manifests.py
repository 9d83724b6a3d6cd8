"""A fine-tune's manifest travels as the difference from its parent's, and stays what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import add_checkpoint, assert_sound, objects_in, tensors
from fakes.places import FolderPlace, Place, ago, flip
from fakes.sampled import sampled

from zoo.codec.header import Codec
from zoo.codec.text import encode_text
from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.errors import Corrupt, DiskFull, Forbidden, MissingObject, Unavailable
from zoo.reflog import append_deletion
from zoo.store import Store, manifests
from zoo.store.encoded import encoded_header
from zoo.store.folder import FolderBackend
from zoo.store.listing import name_of
from zoo.store.manifests import manifest_bytes, manifest_header
from zoo.store.prune import PrunePlan, execute, plan
from zoo.store.retry import Retrying
from zoo.store.verify import verify
from zoo.transfer.fetch import fetch
from zoo.transfer.repair import repair
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace

BASE, CHILD, GRANDCHILD, OTHER = "team/base", "team/child", "team/grandchild", "team/other"
NOW = timedelta(seconds=-2)
ENCODED: Kind = "encoded-manifests"
CONTENT = ("objects", "encoded", "manifests", ENCODED)


class Killed(BaseException):
    """Ends whatever is under way."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tests copy: `mine`, and the folder of `team`."""
    folder = tmp_path_factory.mktemp("encoded")
    workspace = Workspace.create(folder / "mine")
    values = {f"stem.{number}.bias": array for number, array in enumerate(tensors().values())}
    made = {BASE: add_checkpoint(workspace, BASE, values)}
    for step, (name, parent) in enumerate([(CHILD, BASE), (GRANDCHILD, CHILD), (OTHER, BASE)]):
        tuned = {**values, "stem.5.bias": values["stem.5.bias"] + step + 1}
        tuned["head.bias"] = values["stem.1.bias"]
        of = Parent(manifest=made[parent], relation="finetune", ref=parent)
        made[name] = add_checkpoint(workspace, name, tuned, parents=(of,))
    FolderPlace(folder / "team")
    for name in (BASE, CHILD):
        push(workspace, name, str(folder / "team"))
    workspace.close()
    return folder


@pytest.fixture
def mine(made: Path, tmp_path: Path) -> Workspace:
    """A base, its child, the child's child, and another child of the base."""
    return Workspace(shutil.copytree(made / "mine", tmp_path / "mine"))


@pytest.fixture
def empty(tmp_path: Path) -> Place:
    """A remote in a folder."""
    return FolderPlace(tmp_path / "team")


@pytest.fixture
def team(made: Path, tmp_path: Path) -> Place:
    """One with the base and its child."""
    return FolderPlace(shutil.copytree(made / "team", tmp_path / "team"))


def of(mine: Workspace, name: str) -> Digest:
    return mine.names.resolve(name)[1]


def planned(store: Store, grace: timedelta = NOW) -> PrunePlan:
    return plan(store, keep=NOW, grace=grace)


def carry(store: Store, shown: PrunePlan, grace: timedelta = NOW) -> PrunePlan:
    return execute(store, shown, keep=NOW, grace=grace)


def prune(store: Store, grace: timedelta = NOW) -> PrunePlan:
    return carry(store, planned(store, grace), grace)


def is_format(place: Place) -> int:
    return int(json.loads(place.read("zoo.json"))["format"])


def test_it_is_the_difference_from_the_parents(mine: Workspace, empty: Place) -> None:
    push(mine, BASE, empty.location)
    assert empty.names(ENCODED) == []
    assert is_format(empty) == 1
    _, sent = push(mine, CHILD, empty.location)
    child = of(mine, CHILD)
    assert empty.names(ENCODED) == [name_of(ENCODED, child)]
    assert empty.names("manifests") == [name_of("manifests", of(mine, BASE))]
    assert manifest_header(empty.remote, child).base == of(mine, BASE)
    assert is_format(empty) == 2
    assert manifest_bytes(empty.remote, child) == mine.store.manifest(child).to_bytes()
    assert sent.sent_bytes < mine.store.size("manifests", child)
    report = verify(empty.remote)
    assert report.damages == ()
    assert report.files == len(empty.names(*CONTENT))


def test_all_of_it_in_any_place(mine: Workspace, place: Place, tmp_path: Path) -> None:
    """Pushed, pulled, healed and pruned."""
    for name in (BASE, CHILD):
        push(mine, name, place.location)
    flip(place, name_of(ENCODED, of(mine, CHILD)))
    assert len(repair(place.remote, mine.store).healed) == 1
    push(mine, OTHER, place.location)
    append_deletion(place.remote, Reference.parse(BASE))
    assert prune(place.remote).rebased == (of(mine, OTHER),)
    assert verify(place.remote).damages == ()
    theirs = Workspace.create(tmp_path / "theirs")
    for name in (CHILD, OTHER):
        pull(theirs, name, place.location)
    assert_sound(theirs.store)


def test_so_is_the_header_of_its_file(mine: Workspace, team: Place) -> None:
    header, before = (mine.store.manifest(of(mine, n)).weights[0].header for n in (CHILD, BASE))
    found = encoded_header(team.remote, header)
    assert (found.codec, found.base) == (Codec.ZSTD, before)


def test_it_is_pulled_and_fetched_as_what_it_was(
    mine: Workspace, team: Place, tmp_path: Path
) -> None:
    push(mine, GRANDCHILD, team.location)
    theirs = Workspace.create(tmp_path / "theirs")
    theirs.remotes.add("team", team.location)
    assert len(fetch(theirs, "team").refs) == 3
    for name in (GRANDCHILD, CHILD, BASE):
        pull(theirs, name, team.location)
        assert theirs.names.resolve(name) == mine.names.resolve(name)
    assert objects_in(theirs.store, ENCODED) == set()
    assert_sound(theirs.store)


def test_differences_are_one_hop_deep(mine: Workspace, team: Place) -> None:
    push(mine, GRANDCHILD, team.location)
    assert manifest_header(team.remote, of(mine, GRANDCHILD)).base == of(mine, BASE)


def test_a_difference_from_a_difference_is_refused(mine: Workspace, team: Place) -> None:
    child, grandchild = of(mine, CHILD), of(mine, GRANDCHILD)
    data, base = (mine.store.manifest(digest).to_bytes() for digest in (grandchild, child))
    team.plant(name_of(ENCODED, grandchild), encode_text(data, base, child))
    with pytest.raises(Corrupt, match=f"{child}.*stands alone"):
        team.remote.manifest(grandchild)


def test_without_its_parent_there_it_is_sent_as_it_is(mine: Workspace, empty: Place) -> None:
    push(mine, CHILD, empty.location)
    assert empty.names(ENCODED) == empty.names("encoded") == []
    assert is_format(empty) == 1


def test_it_is_sent_once(mine: Workspace, team: Place) -> None:
    push(mine, GRANDCHILD, team.location)
    names = team.names(ENCODED, "manifests", "encoded", "objects")
    _, again = push(mine, CHILD, team.location)
    assert again.sent_bytes == 0
    assert team.names(ENCODED, "manifests", "encoded", "objects") == names


@pytest.mark.parametrize("far", [False, True], ids=["read", "compared by size"])
def test_a_damaged_base_there_is_not_used_and_is_told(
    mine: Workspace, empty: Place, far: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(mine, BASE, empty.location)
    base = name_of("manifests", of(mine, BASE))
    empty.plant(base, empty.read(base)[:-1])
    if far:
        remote = Store(Retrying(empty.remote.backend))
        monkeypatch.setattr("zoo.remotes.Remotes.connect", lambda *_, **__: remote)
    _, sent = push(mine, CHILD, empty.location)
    assert of(mine, BASE) in sent.damaged
    assert empty.names(ENCODED) == []
    monkeypatch.undo()
    pull(Workspace.create(mine.root.parent / "theirs"), CHILD, empty.location)


def test_a_damaged_base_is_the_one_that_is_named(
    mine: Workspace, team: Place, tmp_path: Path
) -> None:
    base, child = of(mine, BASE), of(mine, CHILD)
    flip(team, name_of("manifests", base))
    theirs = Workspace.create(tmp_path / "theirs")
    with pytest.raises(Corrupt, match=f"^manifest {base} is damaged"):
        pull(theirs, CHILD, team.location)
    problems = {damage.name: damage.problem for damage in verify(team.remote).damages}
    assert problems[str(base)] == "its bytes do not have the digest in its name"
    assert problems[str(child)].startswith(f"cannot be decoded: manifest {base} is damaged")
    assert repair(team.remote, mine.store).damages == ()
    pull(theirs, CHILD, team.location)


def test_a_base_that_is_here_is_not_asked_for(mine: Workspace, team: Place, tmp_path: Path) -> None:
    theirs = Workspace.create(tmp_path / "theirs")
    pull(theirs, BASE, team.location)
    team.lose(name_of("manifests", of(mine, BASE)))
    pull(theirs, CHILD, team.location)
    with pytest.raises(MissingObject, match=of(mine, BASE).hex):
        pull(Workspace.create(tmp_path / "others"), CHILD, team.location)


def test_a_base_that_is_damaged_here_is_read_there(
    mine: Workspace, team: Place, tmp_path: Path
) -> None:
    theirs = Workspace.create(tmp_path / "theirs")
    pull(theirs, BASE, team.location)
    path = theirs.store.path("manifests", of(mine, BASE))
    path.chmod(0o644)
    path.write_bytes(b"{}")
    pull(theirs, CHILD, team.location)


@pytest.mark.parametrize("how", ["flipped", "emptied", "lost"])
def test_a_damaged_one_is_healed(mine: Workspace, team: Place, how: str) -> None:
    """By a repair, or by whoever pushes it again."""
    name, child = name_of(ENCODED, of(mine, CHILD)), of(mine, CHILD)
    before = team.read(name)
    for heal in (lambda: repair(team.remote, mine.store), lambda: push(mine, CHILD, team.location)):
        if how == "flipped":
            flip(team, name)
        elif how == "emptied":
            team.plant(name, b"")
        else:
            team.lose(name)
        (damage,) = verify(team.remote).damages
        assert (damage.name, damage.needed_by) == (str(child), (CHILD,))
        heal()
        assert verify(team.remote).damages == ()
        if team.names(ENCODED) == []:
            team.lose(name_of("manifests", child))
        team.plant(name, before)


def test_a_zoo_is_healed_from_a_remote_that_has_it_encoded(mine: Workspace, team: Place) -> None:
    path = mine.store.path("manifests", of(mine, CHILD))
    path.chmod(0o644)
    path.write_bytes(b"{}")
    assert len(repair(mine.store, team.remote).healed) == 1
    assert_sound(mine.store)


def test_what_differs_from_a_pruned_manifest_stays(
    mine: Workspace, team: Place, tmp_path: Path
) -> None:
    """It is encoded anew, alone, and its base goes."""
    append_deletion(team.remote, Reference.parse(BASE))
    done = prune(team.remote)
    assert done.rebased == (of(mine, CHILD),)
    assert team.names("manifests") == []
    assert manifest_header(team.remote, of(mine, CHILD)).base is None
    assert verify(team.remote).damages == ()
    pull(Workspace.create(tmp_path / "theirs"), CHILD, team.location)
    push(mine, GRANDCHILD, team.location)
    assert manifest_header(team.remote, of(mine, GRANDCHILD)).base == of(mine, CHILD)
    assert prune(team.remote).rebased == ()


def test_a_prune_that_is_killed_loses_nothing(
    mine: Workspace, team: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of its steps is the last one."""
    push(mine, OTHER, team.location)
    for name in (BASE, OTHER):
        append_deletion(team.remote, Reference.parse(name))
    shown = planned(team.remote)
    before = {name: team.read(name) for name in team.names(*CONTENT)}
    steps = 1 + len(shown.doomed)
    backend = team.remote.backend
    put, delete = backend.put, backend.delete
    for last in range(steps + 1):
        left = iter(range(last))

        def step(
            act: Callable[..., None], key: str, *data: Any, left: Iterator[int] = left
        ) -> None:
            if key.startswith(CONTENT) and next(left, None) is None:
                raise Killed
            act(key, *data)

        with monkeypatch.context() as patched:
            patched.setattr(backend, "put", partial(step, put))
            patched.setattr(backend, "delete", partial(step, delete))
            with nullcontext() if last == steps else pytest.raises(Killed):
                carry(team.remote, shown)
        assert verify(team.remote).damages == ()
        for name, data in before.items():
            team.plant(name, data)


def test_a_prune_makes_room_on_a_full_disk(
    mine: Workspace, team: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be encoded anew is, once objects have gone; only then its base goes."""
    append_deletion(team.remote, Reference.parse(BASE))
    put, delete = FolderBackend.put, FolderBackend.delete
    gone: list[str] = []

    def full(backend: FolderBackend, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        if not any(name.startswith("objects/") for name in gone):
            raise DiskFull(key)
        put(backend, key, pieces)

    def freed(backend: FolderBackend, key: str) -> None:
        delete(backend, key)
        gone.append(key)

    monkeypatch.setattr(FolderBackend, "put", full)
    monkeypatch.setattr(FolderBackend, "delete", freed)
    assert prune(team.remote).rebased == (of(mine, CHILD),)
    content = [name for name in gone if name.startswith(CONTENT)]
    assert content[-1] == name_of("manifests", of(mine, BASE))
    assert verify(team.remote).damages == ()
    assert manifest_header(team.remote, of(mine, CHILD)).base is None


def test_a_young_one_keeps_what_it_needs(mine: Workspace, team: Place) -> None:
    """No name leads to it yet: its upload may be going on."""
    for name in (BASE, CHILD):
        append_deletion(team.remote, Reference.parse(name))
    for name in team.names("objects", "encoded", "manifests"):
        team.age(name, ago(3600))
    done = prune(team.remote, timedelta(minutes=30))
    assert [item.name for item in done.doomed if item.kind == "manifest"] == [str(of(mine, BASE))]
    assert done.rebased == (of(mine, CHILD),)
    assert verify(team.remote).damages == ()
    assert team.remote.manifest(of(mine, CHILD))


def test_who_reads_while_a_prune_encodes_anew_reads_again(
    mine: Workspace, team: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_deletion(team.remote, Reference.parse(BASE))
    shown, asked = planned(team.remote), []

    def base(digest: Digest) -> bytes:
        asked.append(digest)
        carry(team.remote, shown)
        return manifests.read_base(team.remote, digest)

    reader = Store(team.remote.backend)
    monkeypatch.setattr(reader, "base", base)
    assert reader.manifest(of(mine, CHILD)) == mine.store.manifest(of(mine, CHILD))
    assert asked == [of(mine, BASE)]


@pytest.mark.parametrize("last", sampled(range(6), [0, 3, 5]))
def test_a_push_that_is_killed_goes_on(mine: Workspace, tmp_path: Path, last: int) -> None:
    push(mine, BASE, str(tmp_path / "team"))

    class Ending(FolderBackend):
        steps = 0

        def _step(self, key: str) -> None:
            if not key.startswith("tmp/"):
                self.steps += 1
                if self.steps > last:
                    raise Unavailable(str(self), "is gone")

        def put(self, key: str, pieces: Iterable[bytes | memoryview]) -> None:
            self._step(key)
            super().put(key, pieces)

        def create(self, key: str, data: bytes | memoryview) -> bool:
            self._step(key)
            return super().create(key, data)

    killed = Store(Ending(tmp_path / "team"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("zoo.remotes.Remotes.connect", lambda *_, **__: killed)
        if last < 5:
            with pytest.raises(Unavailable):
                push(mine, CHILD, "it")
        else:
            push(mine, CHILD, "it")  # marker, header, vectors, manifest, name
    remote = Store.open(tmp_path / "team")
    assert verify(remote).damages == ()
    assert bool(objects_in(remote, ENCODED)) <= (
        json.loads((tmp_path / "team" / "zoo.json").read_text()) == {"format": 2}
    )
    push(mine, CHILD, str(tmp_path / "team"))
    assert objects_in(remote, ENCODED) == {of(mine, CHILD).hex}
    pull(Workspace.create(tmp_path / "theirs"), CHILD, str(tmp_path / "team"))


def test_of_two_writers_the_first_encoding_stays(mine: Workspace, team: Place) -> None:
    child = of(mine, CHILD)
    before = team.read(name_of(ENCODED, child))
    alone = encode_text(mine.store.manifest(child).to_bytes())
    assert team.remote.write(ENCODED, child, [alone]) is False
    assert team.read(name_of(ENCODED, child)) == before


def test_a_push_closes_nobodys_own_zoo_to_an_older_program(mine: Workspace, tmp_path: Path) -> None:
    theirs = Workspace.create(tmp_path / "theirs")
    for name in (BASE, CHILD):
        push(mine, name, str(theirs.root))
    assert json.loads((theirs.root / "zoo.json").read_bytes()) == {"format": 1}
    assert objects_in(theirs.store, ENCODED) == set()
    header = theirs.store.manifest(of(mine, CHILD)).weights[0].header
    assert not theirs.store.missing("objects", [header])


def test_where_the_marker_may_not_be_replaced_all_goes_as_it_is(
    mine: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sticky folder it is somebody else's."""
    push(mine, BASE, str(tmp_path / "team"))
    putting = FolderBackend.put

    def put(backend: FolderBackend, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        if key == "zoo.json":
            raise Forbidden(key, "it is another user's", "")
        putting(backend, key, pieces)

    monkeypatch.setattr(FolderBackend, "put", put)
    push(mine, CHILD, str(tmp_path / "team"))
    remote = Store.open(tmp_path / "team")
    assert objects_in(remote, ENCODED) == objects_in(remote, "encoded") == set()


def test_a_base_is_read_once_for_all_its_children(
    mine: Workspace, team: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (GRANDCHILD, OTHER):
        push(mine, name, team.location)
    read: list[Digest] = []
    reading = manifests.read_base

    def reads(place: Store, digest: Digest) -> bytes:
        read.append(digest)
        return reading(place, digest)

    monkeypatch.setattr("zoo.store.store.read_base", reads)
    remote = Store(team.remote.backend)
    for name in (CHILD, GRANDCHILD, OTHER):
        remote.manifest(of(mine, name))
    assert read == [of(mine, BASE)]


def test_a_large_manifest_goes_as_it_is(
    mine: Workspace, empty: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.transfer.manifests.TEXT_BYTES", 100)
    for name in (BASE, CHILD):
        push(mine, name, empty.location)
    assert empty.names(ENCODED) == []


def test_digits_find_it(mine: Workspace, team: Place) -> None:
    child = of(mine, CHILD)
    assert team.remote.starting_with(child.hex[:12]) == [child]
