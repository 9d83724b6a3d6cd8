"""Copy a checkpoint from one store or remote to another: children before parents, names last."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from blake3 import blake3

from zoo.contracts import Remote
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.progress import Progress
from zoo.errors import Corrupt, MissingObject
from zoo.store.encoded import read_object
from zoo.transfer.encode import Encoder

__all__ = ["Copied", "absent", "copy_checkpoint"]

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


def copy_checkpoint(
    source: Remote,
    target: Remote,
    digest: Digest,
    progress: Progress,
    encoder: Callable[[Manifest], Encoder] | None = None,
) -> Copied:
    """Copy a manifest and the objects that ``target`` lacks. Each object is checked on arrival.

    With an ``encoder``, objects are written encoded where that pays; without, as they are.

    Raises:
        Corrupt: Bytes did not arrive as their digest says; the manifest was not written.
        MissingObject: The source lacks something; nothing was written.
        DiskFull: No space at the target; the manifest was not written.
    """
    data = _read_manifest(source, digest)
    manifest = Manifest.from_bytes(data)
    sizes = dict(manifest.objects())
    missing = absent(target, sizes)
    for lost in sorted(absent(source, missing)):
        raise MissingObject("object", str(lost), "the source")
    encode = encoder(manifest).encode if encoder else None
    sent = 0
    with progress("sending", sum(sizes[item] for item in missing), "B") as task:
        for item in sorted(missing):
            encoded = encode(item) if encode else None
            if encoded is None:
                sent += _copy(source, target, item, sizes[item])
            else:
                target.write("encoded", item, [encoded])
                sent += len(encoded)
            task.advance(sizes[item])
    if target.write("manifests", digest, [data]):
        sent += len(data)
    return Copied(
        manifest=digest,
        logical_bytes=manifest.logical_bytes,
        sent_bytes=sent,
        sent_objects=len(missing),
        shared_objects=len(sizes) - len(missing),
    )


def absent(place: Remote, digests: Iterable[Digest]) -> set[Digest]:
    """Those of ``digests`` that ``place`` holds neither as they are nor encoded."""
    missing = place.missing("objects", digests)
    return place.missing("encoded", missing) if missing else missing


def _read_manifest(source: Remote, digest: Digest) -> bytes:
    size = source.size("manifests", digest)
    if size > MANIFEST_LIMIT:
        raise Corrupt(f"manifest {digest}", f"at most {MANIFEST_LIMIT} bytes", f"{size} bytes")
    data = b"".join(source.read("manifests", digest))
    found = blake3(data).hexdigest()
    if found != digest.hex:
        raise Corrupt(f"manifest {digest}", str(digest), f"blake3:{found}")
    return data


def _copy(source: Remote, target: Remote, digest: Digest, size: int) -> int:
    """Write an object to ``target`` as it is; the number of bytes that ``source`` had to give."""
    if source.missing("objects", [digest]):
        plain = read_object(source, digest, least=size, near=[target])
        target.write("objects", digest, [bytes(plain)])
        return source.size("encoded", digest)
    target.write("objects", digest, source.read("objects", digest))
    return source.size("objects", digest)
