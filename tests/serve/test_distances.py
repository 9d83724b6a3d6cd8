"""Distances are worked out beside what is answered: so many at a time, of what is not too large."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from fakes.checkpoints import add_checkpoint, tensors

from zoo.domain.digest import Digest
from zoo.lookup.compare import compare
from zoo.serve.keep import distances, sharers
from zoo.serve.keep.distances import Distances, DistanceWorker
from zoo.serve.keep.sharers import Sharers
from zoo.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with closing(Workspace.create(tmp_path / "zoo")) as made:
        yield made


@pytest.fixture
def two(workspace: Workspace) -> tuple[Digest, Digest]:
    """Two checkpoints with other weights."""
    one, other = (add_checkpoint(workspace, f"team/n{n}", tensors(n)) for n in (0, 1))
    return one, other


def test_so_many_pairs_wait(
    workspace: Workspace, two: tuple[Digest, Digest], monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = Event()

    def slow(*asked: Any) -> Any:
        goes_on.wait(60)
        return compare(*asked)

    monkeypatch.setattr(distances, "compare", slow)
    monkeypatch.setattr(distances, "WAITING", 1)
    one, other = two
    with closing(DistanceWorker(workspace)) as worker:
        first = worker.of(one, other, 0)
        turned_away = worker.of(other, one, 0)
        assert worker.of(one, other, 0) is first, "it waits once"
        goes_on.set()
        assert first.done.wait(60)
        again = worker.of(other, one, 60)
        assert (again.done.is_set(), again is turned_away) == (True, False)
        assert not turned_away.done.is_set(), "it was never begun"


def test_several_pairs_are_waited_for_together(
    workspace: Workspace, two: tuple[Digest, Digest], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    class Never(Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0.0)
            return False

    monkeypatch.setattr(distances, "time", SimpleNamespace(monotonic=lambda: sum(waited)))
    monkeypatch.setattr(DistanceWorker, "of", lambda *_: Distances(done=Never()))
    with closing(DistanceWorker(workspace)) as worker:
        assert len(worker.of_each([two] * 3, 0.5)) == 3
    assert waited == [0.5, 0.0, 0.0]


def test_a_tensor_that_does_not_fit_in_memory_is_not_read(
    workspace: Workspace, two: tuple[Digest, Digest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distances, "LARGEST_BYTES", 1000)
    with closing(DistanceWorker(workspace)) as worker:
        assert worker.of(*two, 60).problem.startswith("they are too large")
        same = worker.of(two[0], two[0], 60)
        assert (same.problem, len(same.units)) == ("", 3), "of what both have nothing is read"


def test_who_shares_is_looked_up_again_in_time(
    workspace: Workspace, two: tuple[Digest, Digest], monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, known = two[0], Sharers(workspace)
    manifest = workspace.store.manifest(digest)
    before = known.of(digest, manifest)
    new = add_checkpoint(workspace, "team/n2", tensors(0), license="mit")
    assert known.of(digest, manifest) == before
    monkeypatch.setattr(sharers, "SECONDS", 0.0)
    assert {*known.of(digest, manifest)} == {*before, new}
