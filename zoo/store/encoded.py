"""Objects that a remote holds encoded, read as if they were not."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.codec.header import FIXED, Buffer, Header, check, read_header
from zoo.contracts import Remote
from zoo.domain.digest import Digest
from zoo.errors import Corrupt, MissingObject

__all__ = ["LARGEST", "SLACK", "encoded_header", "encoded_size", "object_size",
           "read_encoded", "read_object"]  # fmt: skip

LARGEST = 8 << 30
"""Bytes that an encoded object may claim; no tensor that we know of is larger."""

SLACK = 64 << 20
"""An object may be larger than the ranges that one manifest uses of it, by this much at most."""


def encoded_header(place: Remote, digest: Digest) -> Header:
    """The header of the encoded form that ``place`` holds, read without the rest.

    Raises:
        MissingObject: It holds none.
        Corrupt: It is damaged.
    """
    data = bytearray()
    for piece in place.read("encoded", digest):
        data += piece
        if len(data) >= FIXED.size:
            break
    return read_header(bytes(data))


def object_size(place: Remote, digest: Digest) -> int:
    """Bytes of an object that ``place`` holds as it is or encoded.

    Raises:
        MissingObject: ``place`` does not hold it.
        Corrupt: Its encoded form is damaged, or claims more than `LARGEST`.
    """
    if not place.missing("objects", [digest]):
        return place.size("objects", digest)
    return encoded_size(place, digest)


def encoded_size(place: Remote, digest: Digest) -> int:
    """Bytes when decoded of an object that ``place`` holds encoded. Raises as `object_size`."""
    size = encoded_header(place, digest).size
    if size > LARGEST:
        raise Corrupt(f"encoded object {digest}", f"at most {LARGEST} bytes", f"{size} bytes")
    return size


def read_object(
    place: Remote, digest: Digest, *, least: int, near: Sequence[Remote] = ()
) -> bytes | memoryview:
    """The bytes of an object that ``place`` holds as they are or encoded. Whoever keeps them hashes
    them.

    Args:
        place: Where it is.
        digest: Its name.
        least: Bytes that it has at least; more than `SLACK` above that is refused.
        near: Stores to look for a delta's base first, as it was pulled before more often than not.

    Raises:
        MissingObject: ``place`` does not hold it, or nobody its base.
        Corrupt: It is damaged, too large, or a delta against a delta.
    """
    if not place.missing("objects", [digest]):
        size = place.size("objects", digest)
        if size > least + SLACK:
            raise Corrupt(f"object {digest}", f"at most {least + SLACK} bytes", f"{size} bytes")
        return b"".join(place.read("objects", digest))
    return read_encoded(place, digest, least=least, near=near)


def read_encoded(
    place: Remote, digest: Digest, *, least: int | None = None, near: Sequence[Remote] = ()
) -> bytes | memoryview:
    """The bytes of an object that ``place`` holds encoded; otherwise as `read_object`.

    Where nobody knows how large it should be, ``least`` is None: what it claims is believed, up to
    `LARGEST`.
    """
    data = b"".join(place.read("encoded", digest))
    return decode_object(place, data, least=least, near=near)


def decode_object(
    place: Remote, data: Buffer, *, least: int | None, near: Sequence[Remote] = ()
) -> memoryview:
    """The object whose encoded form, ``data``, was read from ``place``; as `read_encoded`."""
    header = read_header(data)
    limit = LARGEST if least is None else least + SLACK
    base = None
    if header.base is not None:
        try:
            base = _base(place, header.base, header.size, near)
        except MissingObject:
            check(data)  # a damaged header may name a base that never was
            raise
    from zoo.codec.frame import decode  # numpy and the coders, where they are needed

    return decode(data, limit=limit, base=base)


def _base(place: Remote, digest: Digest, size: int, near: Sequence[Remote]) -> bytes | memoryview:
    for store in near:
        if not store.missing("objects", [digest]):
            return b"".join(store.read("objects", digest))
    if place.missing("objects", [digest]) and encoded_header(place, digest).base is not None:
        raise Corrupt(f"encoded object {digest}", "a base that stands alone", "a delta")
    return read_object(place, digest, least=size)
