"""A prune of a store that some write to all the time gets its turn, wherever these are."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zoo.domain.progress import silent
from zoo.errors import Conflict
from zoo.facade import Zoo
from zoo.remotes import Remotes
from zoo.store import Store, turn
from zoo.store import prune as pruning
from zoo.store.cached import CachedBackend
from zoo.store.folder import FolderBackend
from zoo.store.prune import PrunePlan, execute, plan
from zoo.store.turn import in_turn, patient_upload
from zoo.testing.memory import MemoryBackend

NOW = timedelta(seconds=-2)
MACHINES = 3


@pytest.fixture
def machines(tmp_path: Path) -> list[Store]:
    """Several that share a store."""
    shared = MemoryBackend("shared")
    Store.connect(shared, create=True)
    names = [tmp_path / str(number) for number in range(MACHINES)]
    for name in names:
        name.mkdir()
    return [Store(CachedBackend(name, shared, 1 << 20)) for name in names]


class Relay:
    """Writers of which each goes on until the next one has begun, if that does within a while: so
    there is never a moment without one, unless they wait.
    """

    def __init__(self, stores: list[Store]) -> None:
        self.stores, self.entered = stores, [threading.Event() for _ in range(1000)]
        self.ended, self.waits = threading.Event(), 0.5
        self._turns = iter(range(len(self.entered) - 1))

    def write(self, _: object) -> int:
        """Write until the end; how often."""
        count = 0
        while not self.ended.is_set():
            at = next(self._turns)
            with patient_upload(self.stores[at % MACHINES]):
                self.entered[at].set()
                self.entered[at + 1].wait(self.waits)
                count += 1
        return count


@pytest.fixture
def relay(machines: list[Store]) -> Iterator[Relay]:
    relay = Relay(machines)
    with ThreadPoolExecutor(MACHINES) as pool:
        writers = pool.map(relay.write, range(MACHINES))
        relay.entered[4].wait(30)
        yield relay
        relay.ended.set()
        assert min(writers) > 0


def prune(store: Store) -> PrunePlan:
    return execute(store, plan(store, keep=NOW, grace=NOW), keep=NOW, grace=NOW)


def test_steady_writers_leave_a_prune_its_turn(
    relay: Relay, machines: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one who prunes is at none of the machines."""
    monkeypatch.setattr(turn, "AFAR", 0.05)
    store = Store(machines[0].local.shared)  # type: ignore[union-attr]
    name = store.put("objects", b"nobody needs it")
    with pytest.raises(Conflict):
        prune(store)
    (gone,) = in_turn(store, lambda: prune(store), silent).doomed
    assert gone.name == str(name)
    began = next(number for number, each in enumerate(relay.entered) if not each.is_set())
    assert relay.entered[began + 4].wait(30), "and they go on"
    assert not store.backend.stat(turn.FILE)


def test_a_prune_gives_up_in_time_and_keeps_nobody_waiting(
    machines: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "AFAR", 0.05)
    monkeypatch.setattr(turn, "PATIENCE", 0.3)
    one, two, _ = machines
    lines = list[str]()
    progress: Any = SimpleNamespace(say=lines.append)
    with one.upload():  # of somebody who is long at it
        began = time.monotonic()
        with pytest.raises(Conflict) as caught:
            in_turn(two, lambda: prune(two), progress)
        assert time.monotonic() - began < 5
    (line,) = lines
    assert line == f"waiting: {str(caught.value).splitlines()[0]}"
    began = time.monotonic()
    with patient_upload(two):
        pass
    assert time.monotonic() - began < turn.UPLOAD_PATIENCE / 2


def test_who_asked_for_a_turn_and_has_died_is_forgotten(
    machines: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, _ = machines
    one.backend.put(turn.FILE, [])
    assert turn.is_turn_asked_for(two)
    monkeypatch.setattr(turn, "SECONDS", -1.0)
    assert not turn.is_turn_asked_for(two)


class OtherClock(MemoryBackend):
    """Whose clock is not this machine's."""

    ahead = timedelta(hours=1)

    def now(self) -> datetime:
        return super().now() + self.ahead


def test_the_clock_of_the_store_tells_how_long_a_turn_is_asked_for() -> None:
    shared = OtherClock("shared")
    store = Store.connect(shared, create=True)
    with turn.asking_for_turn(store):
        assert turn.is_turn_asked_for(store)
        shared.ahead += timedelta(seconds=turn.SECONDS + 1)
        assert not turn.is_turn_asked_for(store)
        shared.ahead -= timedelta(days=1)
        assert not turn.is_turn_asked_for(store), "nobody can have asked tomorrow"


def test_a_prune_of_a_remote_connects_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect, connected, asked = Remotes.connect, list[str](), list[bool]()
    execute = pruning.execute

    def counted(self: Remotes, where: str, *, create: bool = False) -> Store:
        connected.append(where)
        return connect(self, where, create=create)

    def watched(store: Store, *more: Any, **days: Any) -> PrunePlan:
        asked.append(turn.is_turn_asked_for(store))
        return execute(store, *more, **days)

    Store.connect(FolderBackend.connect(str(tmp_path / "remote"), create=True), create=True)
    with Zoo.init(tmp_path / "zoo", progress=False) as zoo:
        remote = str(tmp_path / "remote")
        planned = zoo.plan_prune(remote)
        monkeypatch.setattr(Remotes, "connect", counted)
        monkeypatch.setattr(pruning, "execute", watched)
        zoo.prune(planned, remote)
    assert (connected, asked) == ([remote], [True])
