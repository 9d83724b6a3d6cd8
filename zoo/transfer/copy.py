"""Copy a checkpoint to a remote, or from one: children before parents."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from threading import Event

from zoo.domain.bounds import check_numbers
from zoo.domain.change import Change
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.progress import Progress, Task
from zoo.domain.snapshot import Snapshot
from zoo.domain.words import plural
from zoo.errors import MissingObject
from zoo.store import Store
from zoo.store.encoded import absent
from zoo.store.manifests import Document, read_document
from zoo.transfer.ahead import ASKED
from zoo.transfer.at_once import at_once
from zoo.transfer.encode import Coding, Encoder
from zoo.transfer.manifests import encode_manifest, keep_manifest
from zoo.transfer.objects import Advance, Move, Receiver, sender
from zoo.transfer.present import check_whole, repair_shared
from zoo.transfer.proving import proving

__all__ = ["Copied", "receive", "send"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlan:
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
        manifest: The checkpoint; of files only, the snapshot.
        logical_bytes: Size of its files; of a snapshot, of all files of that.
        sent_bytes: Bytes that the target did not have, its manifest included.
        sent: Objects that the target did not have.
        shared: Objects that it had.
        read: Whether all that it had, and is relied on, was read; else only sizes were compared, or
            a newer version encoded some of it.
        healed: Those that it had damaged, and that were replaced.
        damaged: What parents need, damaged here or there, so that nothing was coded against it.
        moved_from: What the name pointed at before, if that was another checkpoint.
        change: What differs from that for those who use the name.
        deprecated: Why the name there is to be used no more; empty if it may be.
        signed_by: Of a pull, who has signed it, if the user's rules ask for that.
        signatures: Of a push, how many were sent.
    """

    manifest: Digest
    logical_bytes: int
    sent_bytes: int
    sent: frozenset[Digest]
    shared: frozenset[Digest]
    read: bool = True
    healed: frozenset[Digest] = frozenset()
    damaged: frozenset[Digest] = frozenset()
    moved_from: Digest | None = None
    change: Change | None = None
    deprecated: str = ""
    signed_by: str = ""
    signatures: int = 0

    @property
    def sent_objects(self) -> int:
        """Number of objects that the target did not have."""
        return len(self.sent)

    @property
    def shared_objects(self) -> int:
        """Number of objects that it had."""
        return len(self.shared)


def send(
    store: Store, remote: Store, digest: Digest, progress: Progress, *, coding: Coding
) -> Copied:
    """Copy a checkpoint to a remote: the objects that it lacks, several at once, then the manifest.

    What is in a folder already is hashed; elsewhere, sizes are compared. What is damaged there is
    replaced.

    Raises:
        Corrupt: The store holds an object damaged, or the folder one that the store lacks; the
            manifest was not written.
        MissingObject: The store lacks something; nothing was written.
        DiskFull: No space there; the manifest was not written.
    """
    manifest = read_document(store, digest)
    if isinstance(manifest, Snapshot) and manifest.checkpoint:
        first = send(store, remote, manifest.checkpoint, progress, coding=coding)
        return _together(first, _send(store, remote, digest, manifest, progress, coding))
    return _send(store, remote, digest, manifest, progress, coding)


def _send(
    store: Store,
    remote: Store,
    digest: Digest,
    manifest: Document,
    progress: Progress,
    coding: Coding,
) -> Copied:
    plan = _plan(store, manifest, lambda items: absent(remote, items))
    only_there = store.missing("objects", plan.shared)
    both = {item: store.size("objects", item) for item in plan.shared - only_there}
    healed, newer = repair_shared(remote, store, both, progress)
    if remote.is_near:
        sizes = dict(manifest.objects())
        newer |= check_whole(remote, {item: sizes[item] for item in only_there})
    data = manifest.to_bytes()
    bases = _bases(remote, manifest)
    encoded, damaged = encode_manifest(store, remote, digest, data, bases)
    encoder = Encoder(store, remote, manifest, coding, bases, as_text=encoded is not None)
    sent = _move(plan, partial(sender, store, remote, encoder), partial(progress, "sending"))
    sent += keep_manifest(remote, digest, data, encoded, near=store)
    copied = _copied(digest, manifest, plan, sent)
    hashed = remote.is_near or not (plan.shared or encoder.bases)
    read = hashed and not newer
    return replace(copied, read=read, healed=healed, damaged=encoder.damaged | damaged)


def receive(remote: Store, store: Store, digest: Digest, progress: Progress) -> Copied:
    """Copy a checkpoint from a remote: the objects that are not here, several at once, then the
    manifest. Each is checked on arrival; what is here is hashed, and replaced where it is damaged;
    and meanwhile files are put together and compared with their SHA-256.

    Raises:
        Corrupt: Bytes did not arrive as their digest says; the manifest was not written.
        InvalidManifest: A file is not what its tensors make, or a number is too large; the manifest
            was not written.
        MissingObject: The remote lacks something; nothing was written.
        DiskFull: No space here; the manifest was not written.
    """
    manifest = read_document(remote, digest, [store])
    if isinstance(manifest, Manifest):
        check_numbers(manifest)  # what cannot be indexed would be kept under no name
    elif manifest.checkpoint:
        first = receive(remote, store, manifest.checkpoint, progress)
        return _together(first, _receive(remote, store, digest, manifest, progress))
    return _receive(remote, store, digest, manifest, progress)


def _receive(
    remote: Store, store: Store, digest: Digest, manifest: Document, progress: Progress
) -> Copied:
    # What is here encoded only (somebody pushed it to this zoo) cannot be loaded.
    plan = _plan(remote, manifest, lambda items: store.missing("objects", items))

    sizes = dict(manifest.objects())
    healed, _ = repair_shared(store, remote, {item: sizes[item] for item in plan.shared})
    with proving(store, digest, manifest, plan.shared) as arrived:

        def mover(advance: Advance, stop: Event) -> Move:
            receiver = Receiver(remote, store, plan.sizes, plan.encoded, advance, stop)

            def move(item: Digest) -> int:
                received = receiver.move(item)
                arrived(item)
                return received

            return move

        sent = _move(plan, mover, partial(progress, "receiving"))
    sent += keep_manifest(store, digest, manifest.to_bytes(), None)
    return replace(_copied(digest, manifest, plan, sent), healed=healed)


def _together(first: Copied, whole: Copied) -> Copied:
    """What moved of a snapshot whose checkpoint was moved first."""
    return replace(
        whole,
        manifest=first.manifest,  # that is what users are told of
        sent_bytes=first.sent_bytes + whole.sent_bytes,
        sent=first.sent | whole.sent,
        shared=whole.shared - first.sent,
        read=first.read and whole.read,
        healed=first.healed | whole.healed,
        damaged=first.damaged | whole.damaged,
    )


def _bases(remote: Store, manifest: Document) -> tuple[Digest, ...]:
    """What a checkpoint may be coded against: its parents; where ``remote`` has none of them, the
    nearest of its ancestors that is there, too. A snapshot has none: its checkpoint went first.
    """
    if isinstance(manifest, Snapshot):
        return ()
    parents = tuple(parent.manifest for parent in manifest.parents)
    if _without(remote, parents) != {*parents}:
        return parents
    line = [parent.manifest for _, parent in islice(manifest.lineage(), ASKED)]
    further = [digest for digest in line if digest not in parents]
    missing = _without(remote, further)
    return (*parents, *[digest for digest in further if digest not in missing][:1])


def _without(remote: Store, digests: Collection[Digest]) -> set[Digest]:
    """Those of some checkpoints that ``remote`` does not have, in either form."""
    missing = remote.missing("manifests", digests) if digests else set()
    return remote.missing("encoded-manifests", missing) if missing else missing


def _move(
    plan: CopyPlan,
    mover: Callable[[Advance, Event], Move],
    progress: Callable[[float, str], AbstractContextManager[Task]],
) -> int:
    """Move all objects; the bytes that this took."""
    objects = plural(len(plan.shared), "object is", "objects are")
    stop, there = Event(), f"{objects} there already" if plan.shared else ""
    with progress(sum(plan.sizes.values()), "B") as task:
        task.advance(0, there)
        return sum(at_once(mover(task.advance, stop), plan.sizes, stop))


def _copied(digest: Digest, manifest: Document, plan: CopyPlan, sent: int) -> Copied:
    return Copied(
        manifest=digest,
        logical_bytes=manifest.logical_bytes,
        sent_bytes=sent,
        sent=frozenset(plan.sizes),
        shared=plan.shared,
    )


def _plan(
    source: Store, manifest: Document, missing_of: Callable[[Iterable[Digest]], set[Digest]]
) -> CopyPlan:
    sizes = dict(manifest.objects())
    missing = missing_of(sizes)
    encoded = source.missing("objects", missing)
    for lost in sorted(source.missing("encoded", encoded)):
        raise MissingObject("object", str(lost), "the source")
    return CopyPlan(
        sizes={item: size for item, size in sizes.items() if item in missing},
        encoded=frozenset(encoded),
        shared=frozenset(sizes.keys() - missing),
    )
