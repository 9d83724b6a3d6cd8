from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.checkpoints import (
    FailingStore,
    assert_sound,
    flip_byte,
    objects_in,
    store_checkpoint,
    tensors,
    tree,
)

from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress, Task, silent
from zoo.errors import Corrupt, InvalidManifest, MissingObject, Unavailable
from zoo.store import Store, manifests
from zoo.transfer.copy import receive, send
from zoo.transfer.encode import Coding

PLAIN = Coding(alone=False, smallest=False)


class FlippingStore(Store):
    """Flips a byte of everything of one kind on its way out."""

    flips: Kind = "objects"

    def read(
        self, kind: Kind, digest: Digest, offset: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        for piece in super().read(kind, digest, offset, length):
            yield bytes([piece[0] ^ 1]) + piece[1:] if kind == self.flips else piece


@pytest.fixture
def source(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "source")


@pytest.fixture
def target(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "target")


def sizes(store: Store, digest: Digest) -> dict[Digest, int]:
    return {item: store.size("objects", item) for item, _ in store.manifest(digest).objects()}


def test_a_copy_counts_what_it_moved(source: Store, target: Store) -> None:
    digest = store_checkpoint(source)
    copied = receive(source, target, digest, silent)
    manifest = source.size("manifests", digest)
    assert copied.manifest == digest
    assert copied.sent_objects == 6  # header, one large tensor, four groups of small ones
    assert copied.shared_objects == 0
    assert copied.sent_bytes == sum(sizes(source, digest).values()) + manifest
    assert copied.logical_bytes == source.manifest(digest).weights[0].size
    assert tree(target.root) == tree(source.root)


def test_a_second_copy_sends_nothing(source: Store, target: Store) -> None:
    digest = store_checkpoint(source)
    receive(source, target, digest, silent)
    copied = receive(source, target, digest, silent)
    assert (copied.sent_bytes, copied.sent_objects, copied.shared_objects) == (0, 0, 6)


def test_a_fine_tune_sends_what_changed(source: Store, target: Store) -> None:
    values = tensors()
    base = store_checkpoint(source, values)
    tuned = store_checkpoint(source, {**values, "fc.bias": values["fc.bias"] + 1})
    receive(source, target, base, silent)
    copied = receive(source, target, tuned, silent)
    assert (copied.sent_objects, copied.shared_objects) == (1, 5)
    assert copied.sent_bytes == values["fc.bias"].nbytes + source.size("manifests", tuned)


def test_progress_counts_the_bytes_that_are_sent(source: Store, target: Store) -> None:
    digest = store_checkpoint(source)
    seen: dict[str, float] = {"advanced": 0}

    class Counter:
        def advance(self, amount: float = 1, note: str = "") -> None:
            seen["advanced"] += amount

    class Kept(Progress):
        @contextmanager
        def __call__(self, label: str, total: float | None, unit: str = "") -> Iterator[Task]:
            seen["total"] = total or 0
            yield Counter()

    receive(source, target, digest, Kept())
    assert seen["total"] == seen["advanced"] == sum(sizes(source, digest).values())


@pytest.mark.parametrize("fails_at", range(1, 8))
def test_a_copy_cut_short_leaves_no_manifest(source: Store, tmp_path: Path, fails_at: int) -> None:
    digest = store_checkpoint(source)
    target = FailingStore.create(tmp_path / "target")
    target.fails_at = fails_at
    with pytest.raises(Unavailable):
        send(source, target, digest, silent, coding=PLAIN)
    assert objects_in(target, "manifests") == set()
    # What was under way beside the one that failed may have arrived, too.
    assert min(fails_at - 1, 5) <= len(objects_in(target)) <= 6
    assert_sound(target)


def test_a_copy_cut_short_goes_on_where_it_stopped(source: Store, tmp_path: Path) -> None:
    digest = store_checkpoint(source)
    target = FailingStore.create(tmp_path / "target")
    target.fails_at = 4
    with pytest.raises(Unavailable):
        send(source, target, digest, silent, coding=PLAIN)
    arrived = objects_in(target)
    assert len(arrived) >= 3
    copied = send(source, target, digest, silent, coding=PLAIN)
    assert {item.hex for item in copied.shared} == arrived
    assert copied.sent_objects == 6 - len(arrived)
    assert target.writes[-1] == "manifests"


def test_the_manifest_is_written_last(source: Store, tmp_path: Path) -> None:
    target = FailingStore.create(tmp_path / "target")
    send(source, target, store_checkpoint(source), silent, coding=PLAIN)
    assert target.writes == ["objects"] * 6 + ["manifests"]


@pytest.mark.parametrize("flips", ["objects", "manifests"])
def test_bytes_that_change_on_the_way_are_not_kept(
    source: Store, target: Store, flips: Kind
) -> None:
    digest = store_checkpoint(source)
    remote = FlippingStore.open(source.root)
    remote.flips = flips
    with pytest.raises(Corrupt):
        receive(remote, target, digest, silent)
    assert objects_in(target) == objects_in(target, "manifests") == set()
    assert list(target.staging.iterdir()) == []


def test_a_damaged_object_is_not_kept(source: Store, target: Store) -> None:
    digest = store_checkpoint(source)
    damaged = source.manifest(digest).weights[0].header
    flip_byte(source.path("objects", damaged))
    with pytest.raises(Corrupt, match=damaged.hex):
        receive(source, target, digest, silent)
    assert target.missing("objects", [damaged]) == {damaged}
    assert objects_in(target, "manifests") == set()


def test_a_source_that_lacks_an_object_sends_nothing(source: Store, target: Store) -> None:
    digest = store_checkpoint(source)
    absent = source.manifest(digest).weights[0].header
    source.path("objects", absent).unlink()
    with pytest.raises(MissingObject, match=absent.hex):
        receive(source, target, digest, silent)
    assert objects_in(target) == objects_in(target, "manifests") == set()


def test_what_is_no_manifest_is_not_copied(source: Store, target: Store) -> None:
    with pytest.raises(InvalidManifest):
        receive(source, target, source.put("manifests", b"{}"), silent)
    assert objects_in(target, "manifests") == set()


def test_a_manifest_without_bounds_is_not_read(
    source: Store, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store_checkpoint(source)
    monkeypatch.setattr(manifests, "MANIFEST_BYTES", 100)
    with pytest.raises(Corrupt, match="at most 100 bytes"):
        receive(source, target, digest, silent)
