"""A remote's objects as differences from relatives that were found later: smaller, never lost."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from fakes.checkpoints import add_checkpoint, assert_sound
from fakes.places import BucketPlace, FolderPlace, Place, ago, flip
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from zoo.codec.header import Codec
from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.errors import Conflict, InvalidOption
from zoo.reflog import append_deletion
from zoo.store import Store, prune
from zoo.store.encoded import encoded_header
from zoo.store.listing import name_of
from zoo.store.verify import verify
from zoo.transfer.repack import plan_repack, repack
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace

COUNT = 40_000
BASE, CHILD, GRANDCHILD, STRANGER = "team/base", "team/child", "team/grandchild", "team/stranger"
LARGE = "blocks.0.conv.weight"
NOW = timedelta(seconds=-2)


class Killed(BaseException):
    """Ends whatever is under way."""


def weights(seed: int, step: float = 0.0, head: int = 0) -> dict[str, np.ndarray]:
    """A large tensor, moved by ``step`` times its own size, one of its unit's, and a head."""
    base = np.random.default_rng(seed).standard_normal(COUNT).astype(np.float32) * 0.05
    noise = np.random.default_rng(99).standard_normal(COUNT).astype(np.float32) * 0.05
    return {
        LARGE: (base + np.float32(step) * noise).reshape(100, -1),
        "blocks.0.conv.bias": base[:64] * np.float32(1 + step),
        "head.bias": np.ones(3 + head, dtype=np.float32),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `mine` copies."""
    workspace = Workspace.create(tmp_path_factory.mktemp("repack") / "mine")
    add_checkpoint(workspace, BASE, weights(0))
    child = add_checkpoint(workspace, CHILD, weights(0, 1e-3, head=2))
    parent = Parent(manifest=child, relation="finetune", ref=CHILD)
    add_checkpoint(workspace, GRANDCHILD, weights(0, 2e-3), parents=(parent,))
    add_checkpoint(workspace, STRANGER, weights(1))
    workspace.close()
    return workspace.root


@pytest.fixture
def mine(made: Path, tmp_path: Path) -> Workspace:
    """A base and a child that does not say so, the child's child, and weights of another run."""
    return Workspace(shutil.copytree(made, tmp_path / "mine"))


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if getattr(request, "param", "folder") == "folder":
        return FolderPlace(tmp_path / "team")
    return BucketPlace(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


def pushed(mine: Workspace, place: Place, *names: str) -> Place:
    """The first is the oldest: buckets date to the second."""
    for age, name in enumerate(names or (BASE, CHILD, STRANGER)):
        push(mine, name, place.location)
        file = name_of("manifests", mine.names.resolve(name)[1])
        if file in place.names("manifests"):
            place.age(file, ago(3600 - age))
    return place


def large(mine: Workspace, name: str) -> Digest:
    manifest = mine.store.manifest(mine.names.resolve(name)[1])
    return next(tensor.object for tensor in manifest.tensors if tensor.name == LARGE)


def assert_pulls(place: Place, mine: Workspace, into: Path, *names: str) -> None:
    """Each arrives bit for bit, in a zoo that has nothing."""
    for name in names:
        theirs = Workspace.create(into / name.replace("/", "-"))
        pull(theirs, name, place.location)
        assert theirs.names.resolve(name)[1] == mine.names.resolve(name)[1]
        assert_sound(theirs.store)
        theirs.close()


@pytest.mark.parametrize(
    "place", ["folder", pytest.param("bucket", marks=pytest.mark.long)], indirect=True
)
def test_a_child_that_did_not_say_so_is_coded_against_its_base(
    mine: Workspace, place: Place, tmp_path: Path
) -> None:
    pushed(mine, place)
    shown = plan_repack(place.remote)
    assert [(pair.names, pair.base_names) for pair in shown.pairs] == [((CHILD,), (BASE,))]
    (pair,) = shown.pairs
    assert pair.distance == pytest.approx(1e-3, rel=0.2)
    done = repack(place.remote)
    assert done.objects == 1
    assert done.left == ()
    child, base = large(mine, CHILD), large(mine, BASE)
    header = encoded_header(place.remote, child)
    assert (header.base, header.codec) == (base, Codec.FAST)
    assert place.remote.missing("objects", [child])
    stored = len(place.read(name_of("encoded", child)))
    assert stored == done.bytes_after == done.pairs[0].estimate < 0.7 * done.bytes_before
    assert pair.estimate == pytest.approx(stored, rel=0.1)
    assert verify(place.remote).damages == ()
    assert plan_repack(place.remote).pairs == ()
    assert_pulls(place, mine, tmp_path, BASE, CHILD, STRANGER)


def test_weights_of_another_run_are_left_alone(mine: Workspace, place: Place) -> None:
    pushed(mine, place, BASE, STRANGER)
    before = place.names("objects", "encoded")
    assert plan_repack(place.remote).pairs == ()
    assert repack(place.remote).objects == 0
    assert place.names("objects", "encoded") == before


def test_deltas_stay_one_hop_deep(mine: Workspace, place: Place, tmp_path: Path) -> None:
    """The child's child came first: as its parent was not there, all of it is held plain."""
    pushed(mine, place, GRANDCHILD, CHILD, BASE)
    repack(place.remote, smallest=True)
    files = [Path(name).name for name in place.names("encoded")]
    bases = [encoded_header(place.remote, Digest("blake3", name)).base for name in files]
    assert len(bases) == 2
    assert not {base.hex for base in bases if base} & set(files)
    assert_pulls(place, mine, tmp_path, BASE, CHILD, GRANDCHILD)


def test_what_others_are_coded_against_stays_plain(
    mine: Workspace, place: Place, tmp_path: Path
) -> None:
    pushed(mine, place, CHILD, GRANDCHILD, BASE)
    assert encoded_header(place.remote, large(mine, GRANDCHILD)).base == large(mine, CHILD)
    repack(place.remote)
    assert not place.remote.missing("objects", [large(mine, CHILD)])
    assert verify(place.remote).damages == ()
    assert_pulls(place, mine, tmp_path, BASE, CHILD, GRANDCHILD)


@pytest.mark.parametrize("place", ["folder", "bucket"], indirect=True)
@pytest.mark.long
def test_killed_in_between_it_leaves_both_and_is_taken_up_again(
    mine: Workspace, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed(mine, place)

    def killed(store: Store) -> AbstractContextManager[None]:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Store, "pruning", killed)
        with pytest.raises(Killed):
            repack(place.remote)
    assert verify(place.remote).damages == ()
    assert_pulls(place, mine, tmp_path / "between", CHILD)
    assert repack(place.remote).objects == 1
    assert_pulls(place, mine, tmp_path / "after", CHILD)
    assert verify(place.remote).damages == ()


def test_nothing_is_deleted_while_somebody_writes(mine: Workspace, place: Place) -> None:
    pushed(mine, place)
    with place.remote.upload(), pytest.raises(Conflict) as raised:
        repack(Store(place.remote.backend))
    assert "what was encoded stays" in str(raised.value.hint)
    assert not place.remote.missing("objects", [large(mine, CHILD)])


@pytest.mark.parametrize("which", [BASE, CHILD])
def test_damage_is_named_and_left_alone(mine: Workspace, place: Place, which: str) -> None:
    pushed(mine, place)
    damaged = large(mine, which)
    flip(place, name_of("objects", damaged), 12_000)  # where no sample is taken
    done = repack(place.remote)
    assert done.objects == 0
    assert any(str(damaged) in problem for problem in done.left)
    assert len(verify(place.remote).damages) == 1  # no more than there was


@pytest.mark.parametrize("change", ["coded against it", "its base went", "repaired"])
def test_what_changes_meanwhile_is_looked_at_again(
    mine: Workspace, place: Place, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Between the encoding and the deletion, as uploads are allowed there."""
    pushed(mine, place)
    child, base = large(mine, CHILD), large(mine, BASE)
    begin = Store.pruning

    def changed(store: Store) -> AbstractContextManager[None]:
        if change == "coded against it":
            push(mine, GRANDCHILD, place.location)
        elif change == "its base went":
            place.lose(name_of("objects", base))
        else:
            place.lose(name_of("encoded", child))
        return begin(store)

    monkeypatch.setattr(Store, "pruning", changed)
    assert repack(place.remote).objects == 0
    assert place.read(name_of("objects", child))


def test_a_pull_that_is_under_way_takes_what_was_encoded_meanwhile(
    mine: Workspace, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed(mine, place)
    repack(Store(place.remote.backend))
    child = large(mine, CHILD)
    missing = Store.missing

    def before(store: Store, kind: str, digests: object) -> set[Digest]:
        """What a pull was told before the repack: all is there as it is."""
        gone = missing(store, kind, digests)  # type: ignore[arg-type]
        here = store.backend is not theirs.store.backend and kind == "objects" and not told
        told.append(kind)
        return gone - {child} if here else gone

    told: list[str] = []
    theirs = Workspace.create(tmp_path / "theirs")
    monkeypatch.setattr(Store, "missing", before)
    pull(theirs, CHILD, place.location)
    assert_sound(theirs.store)
    assert told


def test_a_zoo_is_refused(mine: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="is a zoo"):
        plan_repack(mine.store)


def test_a_prune_keeps_what_a_repack_relies_on(
    mine: Workspace, place: Place, tmp_path: Path
) -> None:
    pushed(mine, place)
    repack(place.remote)
    append_deletion(place.remote, Reference.parse(BASE))
    prune.execute(place.remote, prune.plan(place.remote, keep=NOW, grace=NOW), keep=NOW, grace=NOW)
    assert_pulls(place, mine, tmp_path, CHILD)


class RepackMachine(RuleBasedStateMachine):
    """Any order of pushes, deletions, prunes and repacks. What a name leads to stays whole."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.mine = Workspace.create(self.root / "mine")
        self.place = FolderPlace(self.root / "team")
        self.known: dict[str, Digest] = {}
        self.there: set[str] = set()

    def teardown(self) -> None:
        self.mine.close()
        shutil.rmtree(self.root)

    @rule(
        number=st.integers(0, 5), seed=st.integers(0, 1), step=st.integers(0, 5), told=st.booleans()
    )
    def push(self, number: int, seed: int, step: int, told: bool) -> None:
        name = f"team/{number}"
        parents: tuple[Parent, ...] = ()
        if told and self.known:
            of = sorted(self.known)[step % len(self.known)]
            parents = (Parent(manifest=self.known[of], relation="finetune", ref=of),)
        if name not in self.known:
            values: Mapping[str, np.ndarray] = weights(seed, step * 1e-3, head=number)
            self.known[name] = add_checkpoint(self.mine, name, dict(values), parents=parents)
        push(self.mine, name, self.place.location)
        self.there.add(name)

    @rule(number=st.integers(0, 5))
    def delete(self, number: int) -> None:
        if (name := f"team/{number}") in self.there:
            append_deletion(self.place.remote, Reference.parse(name))
            self.there.discard(name)

    @rule()
    def prune(self) -> None:
        shown = prune.plan(self.place.remote, keep=NOW, grace=NOW)
        prune.execute(self.place.remote, shown, keep=NOW, grace=NOW)

    @rule(smallest=st.booleans())
    def repack(self, smallest: bool) -> None:
        repack(self.place.remote, smallest=smallest)

    @invariant()
    def all_that_names_lead_to_is_whole(self) -> None:
        assert verify(self.place.remote).damages == ()
        for name in self.there:
            assert self.place.remote.has_manifest(self.known[name])


SETTINGS = settings(
    max_examples=4,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestRepack = RepackMachine.TestCase
TestRepack.settings = SETTINGS


@pytest.mark.long
def test_more_of_it() -> None:
    run_state_machine_as_test(RepackMachine, settings=settings(SETTINGS, max_examples=100))
