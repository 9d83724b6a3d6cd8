"""Downloads that were cut off go on where they ended, and never damage anything."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from zoo.domain.digest import Digest
from zoo.errors import Corrupt, DiskFull, Unavailable
from zoo.store import Store, partial

DATA = np.random.default_rng(0).bytes(3 << 20)
DIGEST = Digest("blake3", blake3(DATA).hexdigest())
PIECE = 1 << 18
LIMIT = len(DATA)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(partial, "KEPT", 1 << 20)
    return Store.create(tmp_path / "store")


class Line:
    """Reads ``data``, and breaks after so many bytes in all; remembers from where it was read."""

    def __init__(self, data: bytes = DATA, breaks_after: int | None = None) -> None:
        self.data, self.left = data, breaks_after
        self.offsets: list[int] = []

    def __call__(self, offset: int) -> Iterator[bytes]:
        self.offsets.append(offset)
        for begin in range(offset, len(self.data), PIECE):
            piece = self.data[begin : begin + PIECE]
            if self.left is not None:
                self.left -= len(piece)
                if self.left < 0:
                    raise Unavailable("the line", "broke")
            yield piece


def parts(store: Store) -> list[int]:
    return sorted(path.stat().st_size for path in store.staging.glob("part-*"))


def cut(store: Store, at: int) -> None:
    with pytest.raises(Unavailable):
        store.receive(DIGEST, Line(breaks_after=at), limit=LIMIT)


def kept(store: Store) -> bytes:
    return b"".join(store.read("objects", DIGEST))


def test_what_arrives_is_kept(store: Store) -> None:
    assert store.receive(DIGEST, Line(), limit=LIMIT)
    assert kept(store) == DATA
    assert not store.receive(DIGEST, Line(), limit=LIMIT)
    assert parts(store) == []


def test_a_download_goes_on_where_it_was_cut_off(store: Store) -> None:
    cut(store, 2 << 20)
    assert parts(store) == [2 << 20]
    line = Line()
    assert store.receive(DIGEST, line, limit=LIMIT)
    assert line.offsets == [2 << 20]
    assert kept(store) == DATA


def test_little_is_not_worth_keeping(store: Store) -> None:
    cut(store, 1 << 19)
    assert parts(store) == []


def test_the_longest_is_taken_up(store: Store) -> None:
    cut(store, 1 << 20)
    cut(store, 1 << 20)  # more
    assert parts(store) == [1 << 20, 2 << 20]
    line = Line()
    store.receive(DIGEST, line, limit=LIMIT)
    assert line.offsets == [2 << 20]


def test_what_was_left_wrong_need_not_be_taken_up(store: Store) -> None:
    cut(store, 2 << 20)
    (part,) = store.staging.glob("part-*")
    part.write_bytes(b"x" + part.read_bytes()[1:])
    with pytest.raises(Corrupt):
        store.receive(DIGEST, Line(), limit=LIMIT)
    line = Line()
    assert store.receive(DIGEST, line, limit=LIMIT, resume=False)
    assert line.offsets == [0]
    assert parts(store) == []


def test_the_part_of_another_name_is_left_alone(store: Store) -> None:
    other = store.staging / f"part-{DIGEST.hex}-encoded-{'0' * 32}"
    other.write_bytes(b"x" * (2 << 20))
    line = Line()
    store.receive(DIGEST, line, limit=LIMIT)
    assert line.offsets == [0]
    assert other.exists()


def test_a_part_is_copied_as_its_writer_may_live(store: Store) -> None:
    cut(store, 2 << 20)
    (part,) = store.staging.glob("part-*")
    with part.open("r+b") as writer:
        store.receive(DIGEST, Line(), limit=LIMIT)
        writer.seek(0)
        writer.write(b"damage")
    assert kept(store) == DATA


def test_parts_go_with_success(store: Store) -> None:
    for _ in range(2):
        cut(store, 1 << 20)
    assert len(parts(store)) == 2
    store.receive(DIGEST, Line(), limit=LIMIT)
    assert parts(store) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_is_relieved_and_an_interrupt_is_not_lost(
    store: Store, error: BaseException
) -> None:
    def read(offset: int) -> Iterator[bytes]:
        yield DATA[: 2 << 20]
        raise error

    full = isinstance(error, OSError)
    with pytest.raises(DiskFull if full else KeyboardInterrupt):
        store.receive(DIGEST, read, limit=LIMIT)
    assert parts(store) == ([] if full else [2 << 20])


def test_two_at_once(store: Store) -> None:
    """One takes up what the other one is still writing."""
    inner: list[bool] = []

    def slow(make: Callable[[], object]) -> Callable[[int], Iterator[bytes]]:
        def read(offset: int) -> Iterator[bytes]:
            yield DATA[offset : 2 << 20]
            make()
            yield DATA[2 << 20 :]

        return read

    again = slow(lambda: inner.append(store.receive(DIGEST, Line(), limit=LIMIT)))
    store.receive(DIGEST, again, limit=LIMIT)
    assert inner == [True]
    assert kept(store) == DATA
    assert parts(store) == []


def test_more_than_the_limit_is_not_read(store: Store) -> None:
    line = Line(DATA * 10)
    for _ in range(2):
        with pytest.raises(Corrupt, match=f"{LIMIT} bytes"):
            store.receive(DIGEST, line, limit=LIMIT)
        assert parts(store) == []
    assert store.receive(DIGEST, Line(), limit=LIMIT)


def test_what_is_no_file_is_not_taken_up(store: Store, tmp_path: Path) -> None:
    """Whoever shares the folder may have put it there."""
    (tmp_path / "elsewhere").write_bytes(DATA[: 2 << 20])
    name = f"part-{DIGEST.hex}-{'0' * 31}"
    (store.staging / f"{name}1").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(store.staging / f"{name}2")
    line = Line()
    store.receive(DIGEST, line, limit=LIMIT)
    assert (line.offsets, kept(store)) == ([0], DATA)
    assert (tmp_path / "elsewhere").exists()


def test_a_part_has_the_rights_of_the_root(store: Store) -> None:
    """Whatever those of scratch are: others go on with it."""
    store.root.chmod(0o2775)
    store.staging.chmod(0o700)
    cut(store, 2 << 20)
    (part,) = store.staging.glob("part-*")
    assert stat.S_IMODE(part.stat().st_mode) == 0o664
