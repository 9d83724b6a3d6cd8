"""A file that arrives in pieces becomes what the same file on a disk becomes."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from fakes.checkpoints import objects_in
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from zoo.domain import limits
from zoo.domain.digest import Digest
from zoo.domain.manifest import objects_of
from zoo.domain.snapshot import SnapshotFile, Weights
from zoo.errors import Corrupt, MissingObject
from zoo.store import Store
from zoo.store.disk import Disk
from zoo.store.files import add_file, add_weights
from zoo.store.incoming import incoming
from zoo.store.sent import clear_sent, keep_sent, sent

FOLDER = "sent/ann/tmp-1"


def weights(seed: int = 0) -> bytes:
    """Large tensors and small ones of several units, in an order that mixes them."""
    random = np.random.default_rng(seed)
    return save(
        {
            "blocks.1.norm.weight": random.random(300, np.float32),
            "blocks.0.mlp.weight": random.random((200, 100), np.float32),
            "blocks.0.norm.bias": random.random(7, np.float32),
            "blocks.1.proj": random.random((3, 5), np.float32),
            "blocks.0.norm.weight": random.random(300, np.float32),
            "empty": np.zeros((0, 4), np.float32),
            "head.weight": random.random((160, 110), np.float32),
            "same": np.ones((200, 100), np.float32),
            "twin": np.ones((200, 100), np.float32),
        }
    )


def cut(data: bytes, size: int) -> Iterator[bytes]:
    yield from (data[at : at + size] for at in range(0, len(data), size))
    yield b""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "zoo")


@pytest.mark.parametrize("size", [7, 4096, 1 << 20])
def test_weights_are_taken_apart_as_if_they_lay_on_a_disk(store: Store, size: int) -> None:
    data = weights()
    path = store.root / "model.safetensors"
    path.write_bytes(data)
    other = Store.create(store.root / "other")
    expected = add_weights(other, path)
    with incoming(store, cut(data, size), size=len(data), folder=FOLDER) as came:
        assert not objects_in(store), "nothing has its name before it is known to be right"
        came.publish()
    assert (came.sha256, came.size) == (expected.sha256, expected.size)
    assert (came.object, came.tensors) == (expected.header, expected.tensors)
    assert objects_in(store) == objects_in(other)
    assert not (store.root / FOLDER).exists()


@settings(max_examples=25, deadline=None)
@given(data=st.binary(max_size=300), size=st.integers(1, 100))
def test_anything_else_is_one_object(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int
) -> None:
    store = Store.create(tmp_path_factory.mktemp("any") / "zoo")
    (store.root / "file").write_bytes(data)
    with incoming(store, cut(data, size), size=len(data), folder=FOLDER) as came:
        came.publish()
    kept = add_file(store, store.root / "file", name="file")
    assert (came.object, came.sha256, came.tensors) == (kept.object, kept.sha256, ())
    assert len(objects_in(store)) == 1


@pytest.mark.parametrize("length", [0, 1, 2, 1 << 62, (1 << 64) - 1])
def test_a_header_that_claims_another_length_is_kept_whole(store: Store, length: int) -> None:
    """None was once less than its first byte, which was read for ever."""
    data = length.to_bytes(8, "little") + b"{}" + bytes(9)
    with incoming(store, [data], size=len(data), folder=FOLDER) as came:
        came.publish()
    assert (came.tensors, len(objects_in(store))) == ((), 1)


def test_weights_that_break_the_format_are_kept_whole(store: Store) -> None:
    good = weights()
    length = int.from_bytes(good[:8], "little")
    huge = (limits.UPLOADED_HEADER_BYTES + 1).to_bytes(8, "little") + b"{" + good[9:]
    for bad in (good[:-1], good + b"x", good.replace(b"F32", b"F33", 1), huge,
                good[:8] + b"{" * length + good[8 + length :], good[:9]):  # fmt: skip
        with incoming(store, [bad], size=len(bad), folder=FOLDER) as came:
            came.publish()
        assert came.tensors == ()
        assert b"".join(store.read("objects", came.object)) == bad


@pytest.mark.parametrize("wrong", [-1, 1])
@pytest.mark.parametrize("data", [weights(), b"plain" * 100], ids=["weights", "plain"])
def test_of_another_size_nothing_stays(store: Store, data: bytes, wrong: int) -> None:
    with (
        pytest.raises(Corrupt),
        incoming(store, cut(data, 100), size=len(data) + wrong, folder=FOLDER),
    ):
        pass
    assert not objects_in(store)
    assert not (store.root / FOLDER).exists()


def test_what_is_here_is_not_written_again_and_must_stay(store: Store) -> None:
    data = weights()
    with incoming(store, [data], size=len(data), folder=FOLDER) as came:
        came.publish()
    kept = objects_in(store)
    with incoming(store, [data], size=len(data), folder=FOLDER) as again:
        assert not again._staged
        store.path("objects", again.tensors[0].object).unlink()
        with pytest.raises(MissingObject):
            again.publish()
    assert len(objects_in(store)) == len(kept) - 1


def test_it_takes_little_memory(store: Store) -> None:
    data = save({"a": np.zeros(4 << 20, np.float32), "b": np.ones((4 << 20) - 1, np.float32)})
    tracemalloc.start()
    with incoming(store, cut(data, 65536), size=len(data), folder=FOLDER) as came:
        assert len(came.tensors) == 2
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


class Killed(BaseException):
    """The process ends here: nothing of it runs any more."""


STEPS = ("make", "fsync_file", "rename_first", "rename", "remove", "remove_folder")


def dies(patch: pytest.MonkeyPatch, after: int) -> None:
    """Have every change to a disk fail from one of them on."""
    left = [after]

    def failing(step: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return step(*arguments, **named)

        return call

    for name in STEPS:
        patch.setattr(Disk, name, failing(getattr(Disk, name)))


def test_whoever_is_killed_leaves_what_is_whole_and_can_be_sent_again(tmp_path: Path) -> None:
    data, steps = save({"a": np.ones(20_000, np.float32), "b.x": np.ones(3, np.float32)}), 0
    while True:
        store = Store.create(tmp_path / f"{steps}")
        try:
            with pytest.MonkeyPatch.context() as patch:
                dies(patch, steps)
                keep(store, data, FOLDER)
            break
        except Killed:
            steps += 1
        for path in (store.root / "objects").rglob("*"):
            assert path.is_dir() or blake3(path.read_bytes()).hexdigest() == path.name
        if file := sent(store, "ann", "ann/net", Digest("sha256", sha256(data).hexdigest())):
            assert not store.missing("objects", {digest for digest, _ in objects_of([file.stored])})
        keep(store, data, "sent/ann/tmp-2")
        for path in (store.root / "sent").rglob("*"):
            os.utime(path, (0, 0))
        clear_sent(store)
        assert not [path for path in (store.root / "sent").rglob("*") if path.is_file()]
    assert steps > 10


def keep(store: Store, data: bytes, folder: str) -> None:
    """Take in a file as a server does."""
    with incoming(store, cut(data, 4096), size=len(data), folder=folder) as came, store.upload():
        came.publish()
        file = SnapshotFile(path="file", size=came.size, sha256=came.sha256,
                            weights=Weights(header=came.object, tensors=came.tensors))  # fmt: skip
        keep_sent(store, "ann", "ann/net", file)
