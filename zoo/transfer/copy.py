"""Copy a checkpoint from one store or remote to another: children before parents, names last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from blake3 import blake3

from zoo.contracts import Kind, Remote
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.progress import Progress, Task
from zoo.errors import Corrupt

__all__ = ["Copied", "copy_checkpoint"]

MANIFEST_LIMIT = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What a copy moved.

    Attributes:
        manifest: The checkpoint.
        logical_bytes: Size of its files.
        sent_bytes: Bytes that the target did not have, its manifest included.
        sent_objects: Objects that the target did not have.
        shared_objects: Objects that it had.
    """

    manifest: Digest
    logical_bytes: int
    sent_bytes: int
    sent_objects: int
    shared_objects: int


def copy_checkpoint(source: Remote, target: Remote, digest: Digest, progress: Progress) -> Copied:
    """Copy a manifest and the objects that ``target`` lacks. Each object is hashed on arrival.

    Raises:
        Corrupt: Bytes did not arrive as their digest says; the manifest was not written.
        MissingObject: The source lacks something; likewise.
        DiskFull: No space at the target; likewise.
    """
    data = _read_manifest(source, digest)
    manifest = Manifest.from_bytes(data)
    sizes = dict(manifest.objects())
    missing = target.missing("objects", sizes)
    sent = 0
    total = sum(source.size("objects", item) for item in missing)
    with progress("sending", total, "B") as task:
        for item in sorted(missing):
            sent += _copy(source, target, "objects", item, task)
    if target.write("manifests", digest, [data]):
        sent += len(data)
    return Copied(
        manifest=digest,
        logical_bytes=manifest.logical_bytes,
        sent_bytes=sent,
        sent_objects=len(missing),
        shared_objects=len(sizes) - len(missing),
    )


def _read_manifest(source: Remote, digest: Digest) -> bytes:
    size = source.size("manifests", digest)
    if size > MANIFEST_LIMIT:
        raise Corrupt(f"manifest {digest}", f"at most {MANIFEST_LIMIT} bytes", f"{size} bytes")
    data = b"".join(source.read("manifests", digest))
    found = blake3(data).hexdigest()
    if found != digest.hex:
        raise Corrupt(f"manifest {digest}", str(digest), f"blake3:{found}")
    return data


def _copy(source: Remote, target: Remote, kind: Kind, digest: Digest, task: Task) -> int:
    sent = 0

    def counted(pieces: Iterable[bytes]) -> Iterator[bytes]:
        nonlocal sent
        for piece in pieces:
            sent += len(piece)
            task.advance(len(piece))
            yield piece

    target.write(kind, digest, counted(source.read(kind, digest)))
    return sent
