"""Manifests, read and checked: as they are, or encoded as the difference from another one.

What is encoded has the digest of the plain JSON. Its base stands alone: one step leads to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from blake3 import blake3

from zoo.codec.header import FIXED, Header
from zoo.codec.text import decode_text, encode_text
from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.limits import MANIFEST_BYTES, TEXT_BYTES
from zoo.domain.manifest import Manifest
from zoo.domain.snapshot import Snapshot, is_snapshot
from zoo.errors import Corrupt, MissingObject, NoCheckpoint, ZooError
from zoo.store.encoded import absent, header_of, naming, where_is
from zoo.store.listing import KIND_NAMES

if TYPE_CHECKING:
    from zoo.store.store import Store

__all__ = [
    "FORMS",
    "Document",
    "ancestry_of",
    "checkpoint_of",
    "decode_manifest",
    "decoded_manifest",
    "document_of",
    "encode_alone",
    "has_all_of",
    "manifest_bytes",
    "manifest_header",
    "manifest_if_any",
    "read_base",
    "read_document",
    "read_manifest",
    "shown_digest",
]

Document = Manifest | Snapshot
"""What is kept among manifests."""
KEPT, KEPT_BYTES = 16, 512 * 1024
"""So many documents that were read last stay in memory, if they have at most so many bytes: one
page or command asks for the same ones again and again, and to read one takes milliseconds.
"""
FORMS: tuple[Kind, ...] = ("manifests", "encoded-manifests")
"""How a manifest is kept. One that is kept as it is is read so, whatever else is there."""


def read_manifest(store: Store, digest: Digest, near: Sequence[Store] = ()) -> Manifest:
    """Read and check a manifest, or that of the checkpoint that a snapshot has.

    Raises:
        NoCheckpoint: It is a snapshot that has none.
        MissingObject, Corrupt, InvalidManifest, Unsupported: As `read_document`.
    """
    document = read_document(store, digest, near)
    if isinstance(document, Manifest):
        return document
    if document.checkpoint is None:
        raise NoCheckpoint(digest.short)
    return Manifest.from_bytes(manifest_bytes(store, document.checkpoint, near))


def manifest_if_any(store: Store, digest: Digest, near: Sequence[Store] = ()) -> Manifest | None:
    """As `read_manifest`; None for a snapshot without a checkpoint."""
    try:
        return read_manifest(store, digest, near)
    except NoCheckpoint:
        return None


def read_document(store: Store, digest: Digest, near: Sequence[Store] = ()) -> Document:
    """Read and check a manifest or a snapshot; ``near`` as for `manifest_bytes`.

    Raises:
        MissingObject: Not there; or it is encoded, and nobody has its base.
        Corrupt: Its bytes, or those of its base, are not what the digest says.
        InvalidManifest: They are, but break the format.
        Unsupported: A newer version wrote it.
    """
    return document_of(manifest_bytes(store, digest, near))


def document_of(data: bytes) -> Document:
    """The manifest or snapshot whose canonical form ``data`` is.

    Raises:
        InvalidManifest, Unsupported: As `read_document`.
    """
    return _known(data) if len(data) <= KEPT_BYTES else _read(data)


def _read(data: bytes) -> Document:
    return Snapshot.from_bytes(data) if is_snapshot(data) else Manifest.from_bytes(data)


_known = lru_cache(maxsize=KEPT)(_read)


def checkpoint_of(store: Store, digest: Digest, near: Sequence[Store] = ()) -> Digest | None:
    """The checkpoint that a name has which points at ``digest``: that, unless it is a snapshot.

    Raises:
        MissingObject, Corrupt, InvalidManifest, Unsupported: As `read_document`.
    """
    data = manifest_bytes(store, digest, near)
    return Snapshot.from_bytes(data).checkpoint if is_snapshot(data) else digest


def shown_digest(digest: Digest, stores: Sequence[Store]) -> Digest:
    """The digest that users are told of what a name in one of ``stores`` points at: of a snapshot
    that of the checkpoint that it has, if it can be read; of files only, its own.
    """
    for store in stores:
        with suppress(ZooError, OSError):
            return checkpoint_of(store, digest, stores[:1]) or digest
    return digest


def manifest_bytes(store: Store, digest: Digest, near: Sequence[Store] = ()) -> bytes:
    """The canonical bytes of a manifest, hashed.

    Args:
        store: Has the object.
        digest: Its name.
        near: Stores to look for its base first.

    Raises:
        MissingObject, Corrupt, Unsupported: As `read_manifest`.
    """
    try:
        return _plain(store, digest)
    except MissingObject as lacking:
        if not store.has_manifest(digest):
            raise lacking from None
    try:
        return decode_manifest(store, digest, near)
    except MissingObject:
        # A prune may have encoded it anew, and deleted its base, between the two looks.
        return decode_manifest(store, digest, near)


def decode_manifest(store: Store, digest: Digest, near: Sequence[Store] = ()) -> bytes:
    """As `manifest_bytes`, of one that is kept encoded, whatever else is there."""
    data = b"".join(store.read("encoded-manifests", digest, 0, TEXT_BYTES + 1))
    return decoded_manifest(store, digest, data, near)


def decoded_manifest(
    store: Store, digest: Digest, data: bytes, near: Sequence[Store] = ()
) -> bytes:
    """As `decode_manifest`, of one whose encoded form is ``data``."""
    base = header_of(store, digest, data, "encoded-manifests").base
    text = b"" if base is None else _base(store, base, near)
    with naming(store, digest, "encoded-manifests"):
        plain = decode_text(data, limit=TEXT_BYTES, base=[text])
    return _checked(store, "encoded-manifests", digest, plain)


def encode_alone(store: Store, digest: Digest) -> None:
    """Keep an encoded manifest without a base from now on, in one step: its base is to go."""
    data = encode_text(decode_manifest(store, digest))
    store.replace("encoded-manifests", digest, [data])


def manifest_header(store: Store, digest: Digest) -> Header:
    """The header of a manifest that is kept encoded.

    Raises:
        MissingObject: It is not there encoded.
        Corrupt: It is damaged.
        Unsupported: It is of a newer format.
    """
    data = b"".join(store.read("encoded-manifests", digest, 0, FIXED.size))
    return header_of(store, digest, data, "encoded-manifests")


def read_base(store: Store, digest: Digest) -> bytes:
    """A manifest that others are encoded against: it stands alone. Raises as `manifest_bytes`."""
    try:
        return _plain(store, digest)
    except MissingObject:
        if not store.has_manifest(digest):
            raise
    if manifest_header(store, digest).base is not None:
        what = f"{KIND_NAMES['encoded-manifests']} {digest}"
        raise Corrupt(what, "a base that stands alone", "a difference", where_is(store))
    return decode_manifest(store, digest)


def ancestry_of(store: Store, digest: Digest, near: Sequence[Store] = ()) -> set[Digest]:
    """What a name that comes to point at ``digest`` keeps: the ancestors of a checkpoint; of a
    snapshot, its checkpoint and its ancestors.

    Raises:
        MissingObject, Corrupt, InvalidManifest, Unsupported: As `read_document`.
    """
    document = read_document(store, digest, near)
    if isinstance(document, Manifest):
        return document.ancestry()
    if document.checkpoint is None:
        return set()
    return {document.checkpoint} | ancestry_of(store, document.checkpoint, near)


def has_all_of(store: Store, digest: Digest) -> bool:
    """Whether a store has a manifest or a snapshot, and all that it needs, as far as a look at its
    names tells.
    """
    try:
        document = read_document(store, digest)
        if absent(store, [item for item, _ in document.objects()]):
            return False
        further = document.checkpoint if isinstance(document, Snapshot) else None
        return further is None or has_all_of(store, further)
    except (ZooError, OSError):
        return False


def _base(store: Store, digest: Digest, near: Sequence[Store]) -> bytes:
    for other in near:
        with suppress(ZooError):  # one that is damaged here may be sound there
            return _plain(other, digest)
    return store.base(digest)


def _plain(store: Store, digest: Digest) -> bytes:
    data = b"".join(store.read("manifests", digest, 0, MANIFEST_BYTES + 1))
    if len(data) > MANIFEST_BYTES:
        raise Corrupt(f"manifest {digest}", f"at most {MANIFEST_BYTES} bytes", "more")
    return _checked(store, "manifests", digest, data)


def _checked(store: Store, kind: Kind, digest: Digest, data: bytes) -> bytes:
    actual = blake3(data).hexdigest()
    if actual != digest.hex:
        what, actual = f"{KIND_NAMES[kind]} {digest}", f"blake3:{actual}"
        raise Corrupt(what, str(digest), actual, where_is(store))
    return data
