"""Many processes write to one place at once; nothing but exclusive creation keeps them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import work
from fakes.forks import Forks

from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.store import Store
from zoo.store.verify import verify
from zoo.transfer.sync import pull
from zoo.workspace import Workspace

MOVES = 2
RACE = Reference("team", "race")
SHARE = 4
"""So many import and push the same."""


@pytest.fixture(scope="module", params=[24, pytest.param(64, marks=pytest.mark.long)])
def movers(request: pytest.FixtureRequest) -> int:
    """How many processes move one name; each tries as often as all others move it."""
    return int(request.param)


@pytest.fixture(scope="module", params=[8, pytest.param(16, marks=pytest.mark.long)])
def contributors(request: pytest.FixtureRequest) -> int:
    """How many processes import and push at once."""
    return int(request.param)


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


def said(ended: list[Any]) -> list[Any]:
    assert {end.status for end in ended} == {0}
    return [end.said for end in ended]


class TestOneName:
    """Many processes move it; ``flock`` does nothing, as on some network file systems."""

    @pytest.fixture(scope="class")
    @classmethod
    def race(
        cls, forks: Forks, movers: int, tmp_path_factory: pytest.TempPathFactory
    ) -> tuple[Store, Any]:
        """The store afterwards, and what each process says of itself."""
        store = Store.create(tmp_path_factory.mktemp("race"))
        calls = [("race", str(store.root), f"p{number}", MOVES) for number in range(movers)]
        return store, said(forks.together(*calls))

    @pytest.fixture
    def history(self, race: tuple[Store, Any]) -> tuple[RefEntry, ...]:
        return race[0].history(RACE)

    def test_the_history_is_linear(self, history: tuple[RefEntry, ...], movers: int) -> None:
        assert [move.number for move in history] == list(range(1, movers * MOVES + 1))
        assert [move.previous for move in history] == [None, *(m.manifest for m in history[:-1])]

    def test_every_number_has_one_winner(
        self, race: tuple[Store, Any], history: tuple[RefEntry, ...]
    ) -> None:
        won = Counter(number for one in race[1] for number in one["won"])
        assert won == Counter(move.number for move in history)

    def test_every_loser_is_told_the_value(
        self, race: tuple[Store, Any], history: tuple[RefEntry, ...], movers: int
    ) -> None:
        # All tried number 1, which only one can have; what else happened ended the process.
        assert sum(bool(one["lost"]) or 1 in one["won"] for one in race[1]) == movers
        assert sum(len(one["lost"]) for one in race[1]) >= movers - 1
        told = {value for one in race[1] for value in one["lost"]}
        assert told <= {str(move.manifest) for move in history}

    def test_nothing_is_left_behind(self, race: tuple[Store, Any]) -> None:
        assert list(race[0].staging.iterdir()) == []


class TestOneRemote:
    """Several import and push, the same and different things, to a remote that is not there yet."""

    @pytest.fixture(scope="class")
    @classmethod
    def shared(
        cls, forks: Forks, contributors: int, tmp_path_factory: pytest.TempPathFactory
    ) -> Store:
        folder = tmp_path_factory.mktemp("many")
        calls = [
            ("contribute", str(folder / f"zoo{number}"), str(folder / "shared"), number, SHARE)
            for number in range(contributors)
        ]
        said(forks.together(*calls))
        return Store.open(folder / "shared")

    def test_nothing_is_broken(self, shared: Store) -> None:
        assert verify(shared).damages == ()
        assert [path for path in shared.staging.rglob("*") if path.is_file()] == []

    def test_all_names_are_there(self, shared: Store, contributors: int) -> None:
        names = [f"{kind}{me}" for kind in ("common", "child", "own") for me in range(contributors)]
        assert set(shared.refs()) == {Reference("team", name) for name in names}
        assert all(len(shared.history(ref)) == 1 for ref in shared.refs())

    def test_one_copy_of_every_object(self, shared: Store) -> None:
        """As it is or encoded, and none that nothing needs."""
        held = [p.stem for kind in ("objects", "encoded") for p in shared.root.glob(f"{kind}/??/*")]
        needed = {
            item.hex
            for ref in shared.refs()
            for move in shared.history(ref)
            for item, _ in shared.manifest(move.manifest).objects()
        }
        assert set(held) == needed
        assert sorted(held) == sorted(needed)

    def test_the_same_is_the_same(self, shared: Store, contributors: int) -> None:
        for kind in ("common", "child"):
            manifests = [
                shared.history(Reference("team", f"{kind}{me}"))[0].manifest
                for me in range(contributors)
            ]
            assert len(set(manifests)) == contributors // SHARE

    @pytest.mark.long
    def test_all_of_it_can_be_pulled(self, shared: Store, tmp_path: Path) -> None:
        zoo = Workspace.create(tmp_path / "theirs")
        for ref in shared.refs():
            pull(zoo, str(ref), str(shared.root))
        assert verify(zoo.store).damages == ()
        zoo.close()


def churn(forks: Forks, folder: Path, told: Callable[[str], None], seconds: float) -> None:
    """Four push and delete the same checkpoints under names of their own while two prune."""
    shared = Store.create(folder / "shared")
    root = str(shared.root)
    writers = [("churn", str(folder / f"zoo{me}"), root, me, seconds) for me in range(4)]
    pruners = [("keep_pruning", root, me, seconds) for me in range(2)]
    ended = said(forks.together(*writers, *pruners))
    kept = {name: digest for one in ended[:4] for name, digest in one["kept"].items()}
    counts: Counter[str] = Counter()
    for one in ended:
        counts += Counter({key: value for key, value in one.items() if key != "kept"})
    told(f"pushes and prunes for {seconds:.0f} s | {dict(counts)}")
    assert counts["pushes"] > 0
    assert counts["prunes"] > 0
    assert verify(shared).damages == ()
    for name, digest in kept.items():
        move = shared.read_ref(Reference.parse(name))
        assert move is not None
        assert (None if move.deleted else str(move.manifest)) == digest
    work.prune(root)
    assert verify(shared).damages == ()
    assert [path for path in shared.staging.rglob("*") if path.is_file()] == []
    zoo = Workspace.create(folder / "theirs")
    for name, digest in kept.items():
        if digest:
            pull(zoo, name, root)
    zoo.close()
    assert verify(zoo.store).damages == ()


@pytest.mark.long
def test_pushes_and_prunes_do_not_meet(
    forks: Forks, tmp_path: Path, told: Callable[[str], None]
) -> None:
    churn(forks, tmp_path, told, seconds=0.7)


@pytest.mark.long
def test_pushes_and_prunes_do_not_meet_for_long(
    forks: Forks, tmp_path: Path, told: Callable[[str], None]
) -> None:
    churn(forks, tmp_path, told, seconds=40)
