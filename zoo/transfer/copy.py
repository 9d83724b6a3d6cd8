"""Copy a checkpoint to a remote, or from one: children before parents."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Protocol

from zoo.contracts import Remote
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.progress import Progress, Task
from zoo.errors import MissingObject
from zoo.store import Store
from zoo.store.held import read_manifest
from zoo.transfer.at_once import at_once
from zoo.transfer.encode import Coding, Encoder
from zoo.transfer.receiver import Receiver
from zoo.transfer.sender import Sender

__all__ = ["Copied", "absent", "receive", "send"]


Advance = Callable[[float], None]


class Mover(Protocol):
    """Moves objects, in several threads."""

    def move(self, digest: Digest) -> int:
        """Move one; the bytes that this took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be moved.

    Attributes:
        sizes: The objects that the target does not have, each with its bytes.
        encoded: Those of them that the source holds encoded only.
        shared: The objects that the target has.
    """

    sizes: dict[Digest, int]
    encoded: frozenset[Digest]
    shared: frozenset[Digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What a copy moved.

    Attributes:
        manifest: The checkpoint.
        logical_bytes: Size of its files.
        sent_bytes: Bytes that the target did not have, its manifest included.
        sent: Objects that the target did not have.
        shared: Objects that it had.
    """

    manifest: Digest
    logical_bytes: int
    sent_bytes: int
    sent: frozenset[Digest]
    shared: frozenset[Digest]

    @property
    def sent_objects(self) -> int:
        """Number of objects that the target did not have."""
        return len(self.sent)

    @property
    def shared_objects(self) -> int:
        """Number of objects that it had."""
        return len(self.shared)


def send(
    store: Store, remote: Remote, digest: Digest, progress: Progress, *, coding: Coding
) -> Copied:
    """Copy a checkpoint to a remote: the objects that it lacks, several at once, then the manifest.

    Raises:
        Corrupt: The store holds an object damaged; the manifest was not written.
        MissingObject: The store lacks something; nothing was written.
        DiskFull: No space there; the manifest was not written.
    """
    manifest = read_manifest(store, digest)
    plan = _plan(store, manifest, lambda items: absent(remote, items))
    encoder = Encoder(store, remote, manifest, coding)

    def mover(advance: Advance, stop: Event) -> Mover:
        return Sender(store, remote, encoder, advance, stop)

    return _copy(remote, digest, manifest, plan, mover, partial(progress, "sending"))


def receive(remote: Remote, store: Store, digest: Digest, progress: Progress) -> Copied:
    """Copy a checkpoint from a remote: the objects that are not here, several at once, then the
    manifest. Each is checked on arrival.

    Raises:
        Corrupt: Bytes did not arrive as their digest says; the manifest was not written.
        MissingObject: The remote lacks something; nothing was written.
        DiskFull: No space here; the manifest was not written.
    """
    manifest = read_manifest(remote, digest)
    # What is here encoded only (somebody pushed it to this zoo) cannot be loaded.
    plan = _plan(remote, manifest, lambda items: store.missing("objects", items))

    def mover(advance: Advance, stop: Event) -> Mover:
        return Receiver(remote, store, plan.sizes, plan.encoded, advance, stop)

    return _copy(store, digest, manifest, plan, mover, partial(progress, "receiving"))


def absent(place: Remote, digests: Iterable[Digest]) -> set[Digest]:
    """Those of ``digests`` that ``place`` holds neither as they are nor encoded."""
    missing = place.missing("objects", digests)
    return place.missing("encoded", missing) if missing else missing


def _copy(
    target: Remote,
    digest: Digest,
    manifest: Manifest,
    plan: Plan,
    mover: Callable[[Advance, Event], Mover],
    progress: Callable[[float, str], AbstractContextManager[Task]],
) -> Copied:
    stop, there = Event(), f"{len(plan.shared)} objects are there already" if plan.shared else ""
    with progress(sum(plan.sizes.values()), "B") as task:
        task.advance(0, there)
        sent = sum(at_once(mover(task.advance, stop).move, plan.sizes, stop))
    data = manifest.to_bytes()
    if target.write("manifests", digest, [data]):
        sent += len(data)
    return Copied(
        manifest=digest,
        logical_bytes=manifest.logical_bytes,
        sent_bytes=sent,
        sent=frozenset(plan.sizes),
        shared=plan.shared,
    )


def _plan(
    source: Remote, manifest: Manifest, missing_of: Callable[[Iterable[Digest]], set[Digest]]
) -> Plan:
    sizes = dict(manifest.objects())
    missing = missing_of(sizes)
    encoded = source.missing("objects", missing)
    for lost in sorted(source.missing("encoded", encoded)):
        raise MissingObject("object", str(lost), "the source")
    return Plan(
        sizes={item: sizes[item] for item in missing},
        encoded=frozenset(encoded),
        shared=frozenset(sizes.keys() - missing),
    )
