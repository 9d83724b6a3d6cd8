"""Retries: which failures are met with them, how often, and with which pauses."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import entry

from zoo import plugins
from zoo.contracts import Backend
from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.domain.stored import StoredFile
from zoo.errors import Conflict, Corrupt, DiskFull, Forbidden, Unavailable, ZooError
from zoo.store import Store
from zoo.store.retry import FIRST_PAUSE, LONGEST_PAUSE, TRIES, Retrying
from zoo.testing.memory import MemoryBackend
from zoo.testing.remotes import BackendSuite, StoreSuite
from zoo.workspace import Workspace

REF = Reference("team", "flowers")
KEY = "objects/ab/abcd"
DATA = b"0123456789"
DIGEST = Digest("blake3", "b" * 64)
DOWN = Unavailable("it", "stopped answering")
BAD = Corrupt("it", "this", "that")


class Scripted(MemoryBackend):
    """Raises what the script says, one item an operation, then works.

    Attributes:
        script: What is next; None works.
        late: The answer to the next exclusive creation is lost.
        calls: Number of operations.
    """

    at_once = 3

    def __init__(self, location: str = "memory") -> None:
        super().__init__(location)
        self.script: list[ZooError | None] = []
        self.late = False
        self.calls = 0

    def next(self) -> None:
        self.calls += 1
        error = self.script.pop(0) if self.script else None
        if error:
            raise error

    def stat(self, key: str) -> StoredFile | None:
        self.next()
        return super().stat(key)

    def present(self, keys: Collection[str]) -> dict[str, StoredFile]:
        self.next()
        found = (super(Scripted, self).stat(key) for key in keys)
        return {file.name: file for file in found if file}

    def folders(self, folder: str) -> Collection[str]:
        self.next()
        return [] if folder else ["objects"]

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        data = b"".join(super().open(key, offset, length))
        yield data[:3]
        self.next()
        yield data[3:]

    def put(self, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        data = list(pieces)
        self.next()
        super().put(key, data)

    def create(self, key: str, data: bytes | memoryview) -> bool:
        self.next()
        if created := key not in self._kept:
            super().put(key, [data])
        if self.late:
            self.late = False
            raise DOWN
        return created

    def list(self, folder: str) -> Iterator[StoredFile]:
        found = [*super().list(folder)]
        yield from found[:1]
        self.next()
        yield from found[1:]

    def delete(self, key: str) -> None:
        self.next()
        super().delete(key)


class Line:
    """A scripted backend, retried, with a clock that is only written down."""

    def __init__(self) -> None:
        self.backend = Scripted()
        self.pauses: list[float] = []
        self.drawn = 1.0
        self.retrying = Retrying(self.backend, pause=self.pauses.append, draw=lambda: self.drawn)


@pytest.fixture
def line() -> Line:
    return Line()


class OfRetrying:
    """What wraps a backend is one."""

    @pytest.fixture
    def backend(self) -> Backend:
        return Retrying(MemoryBackend(), pause=lambda _: None)


class TestConformance(OfRetrying, BackendSuite):
    pass


class TestStoreConformance(OfRetrying, StoreSuite):
    pass


def test_pauses_grow(line: Line) -> None:
    line.backend.put(KEY, [DATA])
    line.backend.script = [DOWN] * (TRIES - 1)
    found = line.retrying.stat(KEY)
    assert found is not None
    assert found.bytes == len(DATA)
    assert line.pauses == [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4, FIRST_PAUSE * 8]
    assert max(line.pauses) <= LONGEST_PAUSE


def test_pauses_differ_by_up_to_half(line: Line) -> None:
    line.backend.script = [DOWN]
    line.drawn = 0.0
    line.retrying.stat(KEY)
    assert line.pauses == [FIRST_PAUSE / 2]


def test_it_gives_up(line: Line) -> None:
    line.backend.script = [DOWN] * TRIES
    with pytest.raises(Unavailable):
        line.retrying.put(KEY, iter([DATA]))
    assert line.backend.calls == TRIES
    assert len(line.pauses) == TRIES - 1


def test_what_is_sent_again_is_whole(line: Line) -> None:
    line.backend.script = [DOWN, BAD]
    line.retrying.put(KEY, iter([DATA[:4], DATA[4:]]))
    assert b"".join(line.retrying.open(KEY)) == DATA


def test_damage_is_met_twice_only(line: Line) -> None:
    line.backend.script = [BAD] * TRIES
    with pytest.raises(Corrupt):
        line.retrying.put(KEY, iter([DATA]))
    assert line.backend.calls == 3


def test_what_is_wrong_before_it_is_sent_is_not_sent_again(line: Line) -> None:
    store = Store(line.retrying)
    with pytest.raises(Corrupt):
        store.write("objects", DIGEST, iter([DATA]))
    assert line.pauses == []
    assert list(line.backend.list("")) == []


@pytest.mark.parametrize("error", [Conflict("moved"), DiskFull("/"), Forbidden("/", "no", "")])
def test_what_waiting_cannot_mend_is_raised_at_once(line: Line, error: ZooError) -> None:
    line.backend.script = [error]
    with pytest.raises(type(error)):
        line.retrying.put(KEY, iter([DATA]))
    assert line.pauses == []


def test_a_read_goes_on_where_it_was_cut_off(line: Line) -> None:
    line.backend.put(KEY, [DATA])
    line.backend.script = [DOWN, DOWN]
    assert list(line.retrying.open(KEY, 1)) == [b"123", b"456", b"789", b""]


def test_a_part_ends_where_it_should_wherever_it_was_cut_off(line: Line) -> None:
    line.backend.put(KEY, [DATA])
    line.backend.script = [DOWN, DOWN]
    assert b"".join(line.retrying.open(KEY, 1, 7)) == b"1234567"
    line.backend.script = [DOWN]
    assert b"".join(line.retrying.open(KEY, 1, 3)) == b"123"


class TestMove:
    @pytest.fixture
    def store(self, line: Line) -> Store:
        store = Store.connect(line.retrying, create=True)
        line.backend.calls = 0
        return store

    def test_an_answer_that_was_lost_is_no_conflict(self, line: Line, store: Store) -> None:
        line.backend.late = True
        store.append_ref(REF, entry(1, DIGEST))
        assert line.pauses == [FIRST_PAUSE]
        assert store.history(REF) == (entry(1, DIGEST),)

    def test_somebody_elses_move_is(self, line: Line) -> None:
        line.backend.put(KEY, [b"other"])
        line.backend.script = [DOWN]
        assert line.retrying.create(KEY, DATA) is False
        assert b"".join(line.backend.open(KEY)) == b"other"

    def test_ones_own_move_is_if_made_before(self, line: Line, store: Store) -> None:
        store.append_ref(REF, entry(1, DIGEST))
        with pytest.raises(Conflict):
            store.append_ref(REF, entry(1, DIGEST))
        assert line.retrying.create(KEY, DATA) is True
        assert line.retrying.create(KEY, DATA) is False


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("stat", (KEY,)),
        ("present", ([KEY],)),
        ("folders", ("",)),
        ("put", (KEY, [DATA])),
        ("create", (f"{KEY}e", DATA)),
        ("list", ("objects/",)),
        ("delete", (KEY,)),
    ],
)
def test_every_operation_is_retried(line: Line, method: str, arguments: tuple[object, ...]) -> None:
    line.backend.put(KEY, [DATA])
    line.backend.script = [DOWN, DOWN]
    answer = getattr(line.retrying, method)(*arguments)
    assert (line.backend.script, len(line.pauses)) == ([], 2)
    expected: Any = method == "create" or getattr(line.backend, method)(*arguments)
    if method == "list":
        answer, expected = list(answer), list(expected)
    assert answer == expected


def test_it_serves_as_many_at_once_as_what_it_wraps(line: Line) -> None:
    assert line.retrying.at_once == 3


def test_what_is_reached_over_a_network_is_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = Workspace.create(tmp_path / "zoo")
    Store.create(tmp_path / "shared")
    assert not isinstance(zoo.remotes.connect(str(tmp_path / "shared")).backend, Retrying)
    monkeypatch.setattr(plugins, "remote", lambda scheme: MemoryBackend)
    assert isinstance(zoo.remotes.connect("far://away", create=True).backend, Retrying)
    zoo.close()
