"""Taking: objects and manifests that are sent. Nothing has its name before its bytes were hashed,
and what is sent encoded is kept as it was: a zoo maps its objects, and who reads them here needs
nothing else for them.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import ENOSPC
from mmap import ACCESS_READ, mmap
from secrets import token_hex
from typing import BinaryIO

from blake3 import blake3

from zoo.codec.header import check
from zoo.contracts import Kind
from zoo.domain.bounds import check_numbers
from zoo.domain.digest import Digest
from zoo.domain.limits import LEFT_BYTES, MANIFEST_BYTES, OBJECT_BYTES, PROVEN_BYTES, TEXT_BYTES
from zoo.domain.manifest import Manifest
from zoo.errors import Corrupt, DiskFull, Invalid, Unsupported, disk_errors
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.reach import sees_all
from zoo.serve.hub.sealed import refusing
from zoo.store import Store
from zoo.store.encoded import decode_object, header_of, read_encoded
from zoo.store.listing import name_of
from zoo.store.manifests import decoded_manifest, document_of
from zoo.store.sent import FOLDER
from zoo.store.turn import patient_upload

__all__ = ["require_sending", "small", "staged", "take", "written"]

MOST: dict[Kind, int] = {
    "objects": OBJECT_BYTES,
    "encoded": OBJECT_BYTES,
    "manifests": MANIFEST_BYTES,
    "encoded-manifests": TEXT_BYTES,
}
"""Bytes of what is sent."""
LIKELY = 16
"""Times that an encoding is smaller than what it encodes, more often than not."""


def require_sending(ask: Ask) -> None:
    """See that who asks may send something: what it is for is asked when a name is to move.

    Raises:
        Refused: The token is to read only.
    """
    if ask.actor.purpose == "read":
        raise Refused("Forbidden", "this token is to read only; that needs one to append")


def take(ask: Ask, kind: Kind, digest: Digest, pieces: Iterable[bytes]) -> None:
    """Keep an object or a manifest.

    Raises:
        Refused: It is not what its digest says, is too large, or relies on what is not there for
            who sends it.
    """
    require_sending(ask)
    with refusing():
        if kind == "objects":
            with staged(ask) as (name, file):
                _check(digest, written(file, pieces, MOST[kind]))
                _publish(ask, digest, name, file)
        elif kind == "encoded":
            _take_encoded(ask, digest, pieces)
        else:
            with staged(ask) as (_, file):
                written(file, pieces, MOST[kind])
                file.seek(0)
                data = file.read()
            if kind == "encoded-manifests":
                data = _decoded(ask, digest, data)
            _keep_manifest(ask, digest, data)


@contextmanager
def staged(ask: Ask) -> Iterator[tuple[str, BinaryIO]]:
    """A new file beside the store, and its name, which is gone at the end unless it got another."""
    disk = ask.hub.workspace.store.disk
    folder = f"{FOLDER}/{ask.actor.name}/came-{token_hex(8)}"
    name = f"{folder}/0"
    try:
        with disk_errors(disk.root / FOLDER), disk.make(name) as file:
            yield name, file
    finally:
        disk.remove(name)
        disk.remove_folder(folder)


def written(file: BinaryIO, pieces: Iterable[bytes | memoryview], most: int) -> str:
    """Write what comes, no more than ``most`` bytes of it; its BLAKE3.

    Raises:
        Corrupt: There is more.
    """
    hasher = blake3()
    for piece in pieces:
        if file.tell() + len(piece) > most:
            raise Corrupt("what is sent", f"at most {most} bytes", "more")
        _check_room(file, len(piece))
        hasher.update(piece)
        file.write(piece)
    file.flush()
    return hasher.hexdigest()


def _check_room(file: BinaryIO, size: int) -> None:
    """See that the disk has room for more, and for what a server does beside."""
    disk = os.fstatvfs(file.fileno())
    if disk.f_bavail * disk.f_frsize < LEFT_BYTES + size:
        raise OSError(ENOSPC, os.strerror(ENOSPC))  # as if it were full


def small(pieces: Iterable[bytes], most: int) -> bytes:
    """What comes, if it has no more than ``most`` bytes.

    Raises:
        Refused: It has.
    """
    data = bytearray()
    with refusing():
        for piece in pieces:
            data += piece
            if len(data) > most:
                raise Corrupt("what is sent", f"at most {most} bytes", "more")
    return bytes(data)


def _check(digest: Digest, actual: str) -> None:
    if actual != digest.hex:
        raise Corrupt("what is sent", str(digest), f"blake3:{actual}")


def _publish(ask: Ask, digest: Digest, name: str, file: BinaryIO) -> None:
    """Give a file that was hashed its name, also in the place of one that may be damaged."""
    store, key = ask.hub.workspace.store, name_of("objects", digest)
    store.disk.fsync_file(file)
    with patient_upload(store):
        store.local.publish(name, key, over=True)
        ask.hub.reach.keep_sent(ask, digest)


def _take_encoded(ask: Ask, digest: Digest, pieces: Iterable[bytes]) -> None:
    """Keep an object that is sent encoded. Were it kept so, everybody else who has the object would
    rely on what nobody but its sender has seen.
    """
    store = ask.hub.workspace.store
    with staged(ask) as (_, sent), staged(ask) as (name, file):
        written(sent, pieces, MOST["encoded"])
        data = memoryview(mmap(sent.fileno(), 0, access=ACCESS_READ) if sent.tell() else b"")
        check(data)
        header = header_of(store, digest, data)
        _require_base(ask, header.base)
        if header.base and store.missing("objects", [header.base]):
            _decode_here(store, header.base)
        if header.size > shutil.disk_usage(store.root).free - LEFT_BYTES:
            raise DiskFull(store.root)
        decoded = decode_object(store, digest, data, least=None)
        if header.size > max(PROVEN_BYTES, LIKELY * sent.tell()):
            deque(decoded, maxlen=0)  # hashed on the way: a false claim takes no disk
        _check(digest, written(file, decoded, header.size))
        _publish(ask, digest, name, file)


def _decode_here(store: Store, digest: Digest) -> None:
    """Keep as it is what somebody has pushed encoded into the zoo's folder: it may be a difference
    itself, and nobody was told so.
    """
    with patient_upload(store):
        store.replace("objects", digest, read_encoded(store, digest))


def _decoded(ask: Ask, digest: Digest, data: bytes) -> bytes:
    """A manifest that is sent encoded."""
    store = ask.hub.workspace.store
    check(data)
    _require_base(ask, header_of(store, digest, data, "encoded-manifests").base)
    return decoded_manifest(store, digest, data)


def _require_base(ask: Ask, base: Digest | None) -> None:
    if base and base not in ask.hub.reach.there(ask, [base]):
        raise Refused("Mismatch", f"{base}, that it is the difference from, is not there for you")


def _keep_manifest(ask: Ask, digest: Digest, data: bytes) -> None:
    _check(digest, blake3(data).hexdigest())
    if not sees_all(ask.actor):  # who has the folder can do so, too
        _check_document(data)
    store = ask.hub.workspace.store
    with patient_upload(store):
        store.replace("manifests", digest, [data])
        ask.hub.reach.keep_sent(ask, digest)


def _check_document(data: bytes) -> None:
    """See that everybody who meets a manifest can read it, a prune among them."""
    try:
        document = document_of(data)
        if isinstance(document, Manifest):
            check_numbers(document)
    except (Invalid, Unsupported) as error:
        raise Refused("BadRequest", f"this is no manifest: {error}") from None
