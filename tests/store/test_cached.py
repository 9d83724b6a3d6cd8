"""What a machine keeps of a store that it shares: never more than there is room for, never a wrong
byte, never older than told.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from blake3 import blake3

from zoo.contracts import Backend, Kind
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.domain.stored import StoredFile
from zoo.errors import Conflict, Corrupt
from zoo.store import Store
from zoo.store.cached import CachedBackend
from zoo.store.kept import FILE
from zoo.store.listing import name_of
from zoo.store.names_seen import SEEN_SECONDS
from zoo.testing.memory import MemoryBackend
from zoo.testing.remotes import BODY, BackendSuite, StoreSuite

REF = Reference("team", "flowers")
ROOM = 100_000


class Counted(MemoryBackend):
    """A shared store that counts what is asked."""

    def __init__(self) -> None:
        super().__init__("shared")
        self.asked: list[str] = []

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        self.asked.append(f"open {key}")
        time.sleep(0.01)
        yield from super().open(key, offset, length)

    def list(self, folder: str) -> Iterator[StoredFile]:
        self.asked.append(f"list {folder}")
        yield from super().list(folder)


@pytest.fixture
def shared() -> Counted:
    return Counted()


def machine(root: Path, shared: Backend, room: int = ROOM) -> CachedBackend:
    root.mkdir(exist_ok=True)
    return CachedBackend(root, shared, room)


@pytest.fixture
def backend(tmp_path: Path, shared: Counted) -> CachedBackend:
    return machine(tmp_path / "one", shared)


class TestCached(BackendSuite):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return machine(tmp_path / "one", MemoryBackend())


class TestStore(StoreSuite):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return machine(tmp_path / "one", MemoryBackend())

    @pytest.mark.parametrize("found", [BODY[:-1], BODY + b"\0", b"", b"\1" + BODY[1:]])
    @pytest.mark.parametrize("kind", ["objects", "manifests"])
    def test_damage_is_noticed_and_replaced(self, store: Store, kind: Kind, found: bytes) -> None:
        """Elsewhere damaged bytes can be read, as they are."""
        digest = store.put(kind, BODY)
        assert store.is_sound(kind, digest)
        store.backend.put(name_of(kind, digest), [found])
        assert not store.is_sound(kind, digest)
        with pytest.raises(Corrupt):
            b"".join(store.read(kind, digest))
        store.replace(kind, digest, [BODY])
        assert store.is_sound(kind, digest)
        assert b"".join(store.read(kind, digest)) == BODY


def put(shared: Backend, data: bytes) -> str:
    """Keep an object in the shared store; its key."""
    key = name_of("objects", Digest("blake3", blake3(data).hexdigest()))
    shared.put(key, [data])
    return key


def kept(backend: CachedBackend) -> dict[str, int]:
    """The files that a machine keeps, with their bytes."""
    root = backend.disk.root
    files = [path for path in (root / "objects").rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.stat().st_size for path in files}


def entry(number: int, why: str = "test") -> RefEntry:
    digests = [Digest("blake3", blake3(b"%d" % n).hexdigest()) for n in (number, number - 1)]
    return RefEntry(
        number=number, manifest=digests[0], previous=digests[1] if number > 1 else None,
        at="2026-01-02T03:04:05Z", by="me", why=why,
    )  # fmt: skip


def test_what_was_read_is_not_asked_for_again(backend: CachedBackend, shared: Counted) -> None:
    key = put(shared, b"some bytes")
    for _ in range(2):
        with backend.file(key) as file:
            assert file.read() == b"some bytes"
    for _ in range(3):
        assert b"".join(backend.open(key, 5, 3)) == b"byt"
    assert bytes(backend.view(key)) == b"some bytes"
    assert shared.asked == [f"open {key}"]
    assert backend.holds([key, "objects/other"]) == {key}


def test_of_many_who_want_it_one_fetches_it(backend: CachedBackend, shared: Counted) -> None:
    key = put(shared, os.urandom(1000))
    with ThreadPoolExecutor(8) as pool:
        found = {b"".join(each) for each in pool.map(lambda _: [*backend.open(key)], range(8))}
    assert len(found) == len(shared.asked) == 1


@pytest.mark.parametrize("new_process", [False, True])
def test_a_file_that_was_damaged_here_is_never_told(
    backend: CachedBackend, shared: Counted, tmp_path: Path, new_process: bool
) -> None:
    key = put(shared, b"right bytes")
    assert b"".join(backend.open(key)) == b"right bytes"
    path = backend.disk.root / key
    path.write_bytes(b"wrong bytes")
    if new_process:
        backend = machine(tmp_path / "one", shared)
    assert b"".join(backend.open(key)) == b"right bytes"
    assert path.read_bytes() == b"right bytes"
    assert len(shared.asked) == 2


def test_what_comes_damaged_is_never_told(backend: CachedBackend, shared: Counted) -> None:
    key = put(shared, b"right bytes")
    shared.put(key, [b"wrong bytes"])
    with pytest.raises(Corrupt, match="shared/objects"):
        next(iter(backend.open(key)))
    with pytest.raises(Corrupt):
        backend.view(key)
    assert kept(backend) == {}
    shared.put(key, [b"right bytes"])
    assert b"".join(backend.open(key)) == b"right bytes"


def test_no_more_is_kept_than_there_is_room_for(
    backend: CachedBackend, shared: Counted, tmp_path: Path
) -> None:
    """Of two processes that share the folder; what was used longest ago goes."""
    other, used = machine(tmp_path / "one", shared), put(shared, os.urandom(9000))
    for number in range(60):
        each = (backend, other)[number % 2]
        key = put(shared, os.urandom(9000))
        assert len(b"".join(each.open(key))) == 9000
        assert len(b"".join(each.open(used))) == 9000
        path = backend.disk.root / used
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        assert sum(kept(backend).values()) <= ROOM
        assert {used, key} <= {*kept(backend)}
        long_ago = time.time_ns() - (100 - number) * 10**9
        new = backend.disk.root / key
        os.utime(new, ns=(long_ago, new.stat().st_mtime_ns))
    assert shared.asked.count(f"open {used}") == 1
    assert int((backend.disk.root / FILE).read_bytes()) >= sum(kept(backend).values())
    assert backend.count() == sum(kept(backend).values())


def test_what_is_larger_than_all_room_is_read_and_not_kept(
    backend: CachedBackend, shared: Counted
) -> None:
    data = os.urandom(ROOM + 1)
    key = put(shared, data)
    assert b"".join(backend.open(key)) == data
    assert kept(backend) == {}
    assert not [*(backend.disk.root / "tmp").iterdir()]


def test_who_has_a_file_open_keeps_it(backend: CachedBackend, shared: Counted) -> None:
    data = os.urandom(9000)
    key = put(shared, data)
    view, file = backend.view(key), backend.file(key)
    for _ in range(30):
        backend.view(put(shared, os.urandom(9000)))
    assert key not in kept(backend)
    with file:
        assert file.read() == bytes(view) == data


def test_what_a_killed_process_has_left_is_counted_and_deleted(
    backend: CachedBackend, shared: Counted
) -> None:
    left = backend.disk.root / "tmp" / "tmpdeadbeef"
    backend.view(put(shared, b"x" * 100))
    left.write_bytes(bytes(1000))
    backend.count()
    assert left.exists()
    os.utime(left, (0, 0))
    (backend.disk.root / FILE).write_bytes(b"%020d" % 10**9)  # it counted, and was killed then
    assert backend.count() == 100
    assert not left.exists()


def test_a_name_that_others_move_is_seen_soon(
    backend: CachedBackend, shared: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = Store(backend), Store(shared)
    shared.put("zoo.json", [b""])
    theirs.append_ref(REF, entry(1))
    for _ in range(3):
        assert mine.read_ref(REF) == entry(1)
    assert mine.refs().__next__() == REF
    asked = len(shared.asked)
    theirs.append_ref(REF, entry(2))
    asked = len(shared.asked)
    assert mine.read_ref(REF) == entry(1)
    assert len(shared.asked) == asked
    now = time.monotonic()
    monkeypatch.setattr("zoo.store.names_seen.time.monotonic", lambda: now + SEEN_SECONDS)
    assert mine.read_ref(REF) == entry(2)


@pytest.mark.parametrize("all_names", [False, True])
def test_within_an_upload_all_is_as_it_is(
    backend: CachedBackend, shared: Counted, all_names: bool
) -> None:
    """Else who relies on it could name what a prune has deleted before."""
    mine, theirs, digest = Store(backend), Store(shared), Digest("blake3", "ab" * 32)
    shared.put("zoo.json", [b""])
    shared.put(name_of("objects", digest), [b""])
    theirs.append_ref(REF, entry(1))
    if all_names:
        assert [*mine.refs()] == [REF]
    assert (mine.read_ref(REF), mine.missing("objects", [digest])) == (entry(1), set())
    theirs.append_ref(REF, entry(2))
    theirs.append_ref(Reference("team", "other"), entry(1))
    theirs.remove(name_of("objects", digest))
    assert mine.missing("objects", [digest]) == set()
    with mine.upload():
        assert mine.missing("objects", [digest]) == {digest}
        assert mine.read_ref(REF) == entry(2)
        assert len([*mine.refs()]) == 2
        assert backend.folders("refs/team/") == {"flowers", "other"}


def test_what_a_prune_deletes_last_is_not_taken_for_there(
    backend: CachedBackend, shared: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends while an upload begins, and another thread has asked for what it deletes then."""
    mine, digest = Store(backend), Digest("blake3", "ab" * 32)
    shared.put("zoo.json", [b""])
    shared.put(name_of("objects", digest), [b""])
    listed = shared.list

    def ends(folder: str) -> Iterator[StoredFile]:
        assert mine.missing("objects", [digest]) == set()
        shared.delete(name_of("objects", digest))
        return listed(folder)

    monkeypatch.setattr(shared, "list", ends)
    with mine.upload():
        assert mine.missing("objects", [digest]) == {digest}


def test_who_moves_a_name_sees_it_at_once(backend: CachedBackend, shared: Counted) -> None:
    mine = Store(backend)
    shared.put("zoo.json", [b""])
    for number in range(1, 4):
        mine.append_ref(REF, entry(number))
        assert mine.read_ref(REF) == entry(number)
    assert [each.number for each in mine.history(REF)] == [1, 2, 3]
    Store(shared).append_ref(REF, entry(4, "theirs"))
    with pytest.raises(Conflict):
        mine.append_ref(REF, entry(4))
    assert mine.read_ref(REF) == entry(4, "theirs")


def test_of_many_machines_one_moves_a_name(tmp_path: Path, shared: Counted) -> None:
    shared.put("zoo.json", [b""])
    stores = [Store(machine(tmp_path / str(number), shared)) for number in range(6)]
    start = Barrier(len(stores))

    def move(store: Store) -> bool:
        assert store.read_ref(REF) is None
        start.wait()
        try:
            store.append_ref(REF, entry(1))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(len(stores)) as pool:
        assert sum(pool.map(move, stores)) == 1


def test_an_entry_that_takes_the_place_of_another_is_read(
    backend: CachedBackend, shared: Counted
) -> None:
    """A name that was deleted long ago, and pruned, begins anew."""
    mine, key = Store(backend), "refs/team/flowers/latest/00000001.json"
    shared.put(key, [entry(1).to_bytes()])
    assert mine.read_ref(REF) == entry(1)
    shared.put(key, [entry(1, "anew").to_bytes()])
    backend.look_again()
    assert mine.read_ref(REF) == entry(1, "anew")


def test_what_is_published_is_there_for_all(
    backend: CachedBackend, shared: Counted, tmp_path: Path
) -> None:
    data = b"sent bytes"
    key = name_of("objects", Digest("blake3", blake3(data).hexdigest()))
    with backend.disk.staged() as (file, name):
        file.write(data)
        file.flush()
        backend.publish(name, key)
    assert b"".join(machine(tmp_path / "two", shared).open(key)) == data
    asked = len(shared.asked)
    assert b"".join(backend.open(key)) == data
    assert len(shared.asked) == asked, "it is kept where it came"
    shared.delete(key)
    assert backend.stat(key), "it is known to be there"
    backend.look_again()
    assert backend.stat(key) is None


def test_the_clock_is_that_of_the_shared_store(backend: CachedBackend, shared: Counted) -> None:
    there = shared.now().replace(year=2040)
    shared.now = lambda: there  # type: ignore[method-assign]
    first, again = backend.now(), backend.now()
    assert there <= first <= again
    assert (again - there).total_seconds() < 60
