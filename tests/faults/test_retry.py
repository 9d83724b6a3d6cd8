"""Retries: which failures are met with them, how often, and with which pauses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from fakes.checkpoints import entry
from fakes.places import write

from zoo import plugins
from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.errors import Conflict, Corrupt, DiskFull, MissingObject, Unavailable, ZooError
from zoo.store import Store
from zoo.store.retry import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    TRIES,
    Retrying,
    RetryingMaintained,
    maintained,
)
from zoo.testing.remotes import MaintainedSuite, RemoteSuite
from zoo.workspace import Workspace

REF = Reference("team", "flowers")
DATA = b"0123456789"
DIGEST = Digest("blake3", blake3(DATA).hexdigest())
DOWN = Unavailable("it", "stopped answering")
BAD = Corrupt("it", "this", "that")


class Scripted(Store):
    """Raises what the script says, one item an operation, then works.

    Attributes:
        script: What is next; None works.
        late: Do the work before raising, as if the answer were lost.
        calls: Number of operations.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.script: list[ZooError | None] = []
        self.late = False
        self.calls = 0

    def next(self) -> None:
        self.calls += 1
        error = self.script.pop(0) if self.script else None
        if error:
            raise error

    def size(self, kind: Kind, digest: Digest) -> int:
        self.next()
        return super().size(kind, digest)

    def read(self, kind: Kind, digest: Digest, offset: int = 0) -> Iterator[bytes]:
        data = b"".join(super().read(kind, digest, offset))
        yield data[:3]
        self.next()
        yield data[3:]

    def write(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> bool:
        data = list(pieces)
        self.next()
        return super().write(kind, digest, data)

    def append_ref(self, ref: Reference, entry: RefEntry) -> None:
        if self.late:
            super().append_ref(ref, entry)
        self.next()
        if not self.late:
            super().append_ref(ref, entry)


class Line:
    """A scripted remote, retried, with a clock that is only written down."""

    def __init__(self, root: Path) -> None:
        self.remote = Scripted.create(root)
        self.pauses: list[float] = []
        self.drawn = 1.0
        self.retrying = Retrying(self.remote, pause=self.pauses.append, draw=lambda: self.drawn)


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path / "remote")


class TestConformance(RemoteSuite):
    """What wraps a remote is one."""

    @pytest.fixture
    def remote(self, tmp_path: Path) -> Retrying:
        return Retrying(Store.create(tmp_path / "remote"))


class TestMaintainedConformance(MaintainedSuite):
    """What wraps one that can be pruned can be, too."""

    @pytest.fixture
    def remote(self, tmp_path: Path) -> RetryingMaintained:
        return RetryingMaintained(Store.create(tmp_path / "remote"))

    @pytest.fixture
    def plant(self, tmp_path: Path) -> Callable[[str, bytes], None]:
        return lambda name, data: write(tmp_path / "remote" / name, data)


def test_pauses_grow(line: Line) -> None:
    line.remote.write("objects", DIGEST, [DATA])
    line.remote.script = [DOWN] * (TRIES - 1)
    assert line.retrying.size("objects", DIGEST) == len(DATA)
    assert line.pauses == [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4, FIRST_PAUSE * 8]
    assert max(line.pauses) <= LONGEST_PAUSE


def test_pauses_differ_by_up_to_half(line: Line) -> None:
    line.remote.script = [None, DOWN]
    line.remote.write("objects", DIGEST, [DATA])
    line.drawn = 0.0
    line.retrying.size("objects", DIGEST)
    assert line.pauses == [FIRST_PAUSE / 2]


def test_it_gives_up(line: Line) -> None:
    line.remote.script = [DOWN] * TRIES
    with pytest.raises(Unavailable):
        line.retrying.write("objects", DIGEST, iter([DATA]))
    assert line.remote.calls == TRIES
    assert len(line.pauses) == TRIES - 1


def test_what_is_sent_again_is_whole(line: Line) -> None:
    line.remote.script = [DOWN, BAD]
    assert line.retrying.write("objects", DIGEST, iter([DATA[:4], DATA[4:]]))
    assert b"".join(line.retrying.read("objects", DIGEST)) == DATA


def test_damage_is_met_twice_only(line: Line) -> None:
    line.remote.script = [BAD] * TRIES
    with pytest.raises(Corrupt):
        line.retrying.write("objects", DIGEST, iter([DATA]))
    assert line.remote.calls == 3


@pytest.mark.parametrize("error", [Conflict("moved"), DiskFull("/"), MissingObject("a", "b", "c")])
def test_what_waiting_cannot_mend_is_raised_at_once(line: Line, error: ZooError) -> None:
    line.remote.script = [error]
    with pytest.raises(type(error)):
        line.retrying.write("objects", DIGEST, iter([DATA]))
    assert line.pauses == []


def test_a_read_goes_on_where_it_was_cut_off(line: Line) -> None:
    line.remote.write("objects", DIGEST, [DATA])
    line.remote.script = [DOWN, DOWN]
    assert list(line.retrying.read("objects", DIGEST, 1)) == [b"123", b"456", b"789", b""]


class TestMove:
    def test_an_answer_that_was_lost_is_no_conflict(self, line: Line) -> None:
        line.remote.late = True
        line.remote.script = [DOWN]
        line.retrying.append_ref(REF, entry(1, DIGEST))
        assert line.remote.history(REF) == (entry(1, DIGEST),)

    def test_somebody_elses_move_is(self, line: Line) -> None:
        other = entry(1, Digest("blake3", "a" * 64))
        Store(line.remote.root).append_ref(REF, other)
        line.remote.script = [DOWN]
        with pytest.raises(Conflict) as caught:
            line.retrying.append_ref(REF, entry(1, DIGEST))
        assert caught.value.current == str(other.manifest)
        assert line.remote.history(REF) == (other,)

    def test_ones_own_move_is_if_made_before(self, line: Line) -> None:
        line.retrying.append_ref(REF, entry(1, DIGEST))
        with pytest.raises(Conflict):
            line.retrying.append_ref(REF, entry(1, DIGEST))


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("now", ()),
        ("files", ("objects",)),
        ("start", ("objects", DIGEST, 4)),
        ("is_sound", ("objects", DIGEST)),
        ("replace", ("objects", DIGEST, [DATA])),
        ("remove", ("objects/none",)),
        ("remember_pruned", (DIGEST,)),
    ],
)
def test_what_maintains_a_remote_is_retried(
    line: Line, monkeypatch: pytest.MonkeyPatch, method: str, arguments: tuple[object, ...]
) -> None:
    line.remote.write("objects", DIGEST, [DATA])
    real, calls = getattr(Store, method), []

    def flaky(self: Store, *args: object) -> object:
        calls.append(args)
        if len(calls) < 3:
            raise DOWN
        return real(self, *args)

    monkeypatch.setattr(Store, method, flaky)
    place = maintained(line.retrying)
    assert place is not None
    getattr(place, method)(*arguments)
    assert (len(calls), len(line.pauses)) == (3, 2)


def test_what_cannot_be_listed_cannot_be_maintained(line: Line) -> None:
    class Plain:
        pass

    assert maintained(Retrying(Plain())) is None  # type: ignore[arg-type]
    assert maintained(line.remote) is line.remote


def test_what_is_reached_over_a_network_is_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Far:
        @staticmethod
        def connect(location: str, *, create: bool) -> object:
            return object()

    zoo = Workspace.create(tmp_path / "zoo")
    Store.create(tmp_path / "shared")
    assert isinstance(zoo.remote(str(tmp_path / "shared")), Store)
    monkeypatch.setattr(plugins, "remote", lambda scheme: Far)
    assert isinstance(zoo.remote("far://away"), Retrying)
    zoo.close()
