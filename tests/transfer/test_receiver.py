"""Objects travel side by side, and a large one that was cut off goes on where it ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes.checkpoints import assert_sound, objects_in, store_checkpoint

from zoo.contracts import Backend, Kind
from zoo.domain.digest import Digest
from zoo.domain.progress import silent
from zoo.errors import Corrupt, Unavailable
from zoo.store import Store, partial
from zoo.transfer.copy import receive, send
from zoo.transfer.encode import Coding

LARGE = 4 << 20
HALF = LARGE // 2


class Breaking(Store):
    """Reads of objects break after half of the large one; remembers from where they began."""

    breaks = True

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.offsets: dict[Digest, list[int]] = {}
        self.broken: Callable[[], None] = self._fail

    def _fail(self) -> None:
        raise Unavailable("the line", "broke")

    def read(
        self, kind: Kind, digest: Digest, offset: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        if kind != "manifests":
            self.offsets.setdefault(digest, []).append(offset)
        passed = offset
        for piece in super().read(kind, digest, offset, length):
            if self.breaks and passed >= HALF:
                self.broken()
            passed += len(piece)
            yield piece


class Together(Store):
    """Writes of objects wait for one another: alone, none would ever end."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.meet = threading.Barrier(3)

    def write(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> bool:
        if kind == "objects":
            self.meet.wait(timeout=30)
        return super().write(kind, digest, pieces)


@pytest.fixture
def source(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "source")


@pytest.fixture
def target(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "target")


@pytest.fixture
def large(source: Store, monkeypatch: pytest.MonkeyPatch) -> Digest:
    monkeypatch.setattr(partial, "KEPT", 1 << 20)
    values = {"conv.weight": np.random.default_rng(0).standard_normal(LARGE // 4, np.float32)}
    return store_checkpoint(source, values)


def largest(source: Store, digest: Digest) -> Digest:
    return max(source.manifest(digest).objects(), key=lambda item: item[1])[0]


def test_objects_are_written_side_by_side(source: Store, tmp_path: Path) -> None:
    target = Together.create(tmp_path / "target")
    copied = send(source, target, store_checkpoint(source), silent,
                  coding=Coding(alone=False, smallest=False))  # fmt: skip
    assert copied.sent_objects == 6
    assert_sound(target)


def test_a_large_object_goes_on_where_it_was_cut_off(
    source: Store, target: Store, large: Digest
) -> None:
    line = Breaking.open(source.root)
    with pytest.raises(Unavailable):
        receive(line, target, large, silent)
    assert objects_in(target, "manifests") == set()
    line.breaks = False
    copied = receive(line, target, large, silent)
    assert line.offsets[largest(source, large)] == [0, HALF]
    assert copied.sent_bytes < LARGE  # what came the first time was not received again
    assert_sound(target)


def test_an_encoded_one_too(source: Store, target: Store, large: Digest, tmp_path: Path) -> None:
    remote = Store.create(tmp_path / "remote")
    send(source, remote, large, silent, coding=Coding(alone=True, smallest=False))
    item = largest(source, large)
    assert item.hex in objects_in(remote, "encoded")
    line = Breaking.open(remote.root)
    with pytest.raises(Unavailable):
        receive(line, target, large, silent)
    line.breaks = False
    receive(line, target, large, silent)
    assert line.offsets[item] == [0, HALF]
    assert_sound(target)


def _receive_and_die(source: Path, target: Path, digest: Digest) -> None:
    line = Breaking.open(source)
    line.broken = lambda: os.kill(os.getpid(), signal.SIGKILL)
    receive(line, Store.open(target), digest, silent)


def test_a_killed_pull_goes_on_where_it_was_cut_off(
    source: Store, target: Store, large: Digest
) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_receive_and_die, args=(source.root, target.root, large)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    line = Breaking.open(source.root)
    line.breaks = False
    receive(line, target, large, silent)
    (offset,) = line.offsets[largest(source, large)]
    assert offset > 0
    assert_sound(target)


@pytest.mark.parametrize("times", [1, 2])
def test_bytes_damaged_on_the_way_are_asked_for_again(
    source: Store, target: Store, times: int
) -> None:
    class Flipping(Store):
        left = times

        def read(
            self, kind: Kind, digest: Digest, offset: int = 0, length: int | None = None
        ) -> Iterator[bytes]:
            for piece in super().read(kind, digest, offset, length):
                flip = kind == "objects" and Flipping.left > 0
                Flipping.left -= flip
                yield bytes([piece[0] ^ 1]) + piece[1:] if flip else piece

    digest = store_checkpoint(source)
    receive(Flipping.open(source.root), target, digest, silent)
    assert_sound(target)


def test_a_source_that_is_damaged_is_given_up(source: Store, target: Store) -> None:
    digest = store_checkpoint(source)
    item = source.manifest(digest).weights[0].header
    path = source.path("objects", item)
    path.chmod(0o644)
    path.write_bytes(b"other")
    line = Breaking.open(source.root)
    with pytest.raises(Corrupt):
        receive(line, target, digest, silent)
    assert len(line.offsets[item]) == 3
    assert objects_in(target, "manifests") == set()
