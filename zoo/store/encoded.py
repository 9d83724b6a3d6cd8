"""Objects that a remote holds encoded, read as if they were not.

Whatever a remote claims, reading one takes little memory: what is encoded is mapped, or lies in a
temporary file; a few chunks at a time are decoded; and nothing is larger than `OBJECT_BYTES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from zoo.codec.header import FIXED, Buffer, Header, check, read_header
from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.limits import OBJECT_BYTES, OBJECT_SLACK
from zoo.errors import Corrupt, MissingObject, Unsupported, ZooError
from zoo.store.listing import KIND_NAMES, map_each

if TYPE_CHECKING:
    from zoo.store.store import Store

__all__ = [
    "Headers",
    "Pieces",
    "absent",
    "decode_object",
    "encoded_header",
    "object_size",
    "read_encoded",
    "read_headers",
    "read_object",
]


Headers = Mapping[Digest, Header | ZooError]
"""What encoded objects or manifests say of themselves, or why they do not."""


class Pieces:
    """Bytes in pieces that can be taken more than once: read or decoded anew each time."""

    def __init__(self, read: Callable[[], Iterable[bytes | memoryview]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[bytes | memoryview]:
        return iter(self._read())


def absent(store: Store, digests: Iterable[Digest]) -> set[Digest]:
    """Those of ``digests`` that ``store`` holds neither as they are nor encoded."""
    missing = store.missing("objects", digests)
    return store.missing("encoded", missing) if missing else missing


def encoded_header(store: Store, digest: Digest) -> Header:
    """The header of the encoded form that ``store`` holds, read without the rest.

    Raises:
        MissingObject: It holds none.
        Corrupt: It is damaged, or claims more than `OBJECT_BYTES`.
        Unsupported: It is of a newer format.
    """
    return header_of(store, digest, b"".join(store.read("encoded", digest, 0, FIXED.size)))


def header_of(store: Store, digest: Digest, data: Buffer, kind: Kind = "encoded") -> Header:
    """As `encoded_header`, of an encoded object or manifest that begins with ``data``."""
    with naming(store, digest, kind):
        header = read_header(data)
        if header.size > OBJECT_BYTES:
            raise Corrupt("", f"at most {OBJECT_BYTES} bytes", f"{header.size} bytes")
    return header


def read_headers(store: Store, kind: Kind, encoded: Iterable[Digest]) -> Headers:
    """The headers of encoded objects or manifests; for each that cannot be read, the reason."""

    def read(digest: Digest) -> Header | ZooError:
        try:
            with naming(store, digest, kind):
                return read_header(b"".join(store.read(kind, digest, 0, FIXED.size)))
        except (Corrupt, Unsupported, MissingObject) as error:
            return error

    return dict(zip(encoded, map_each(store, read, encoded), strict=True))


def object_size(store: Store, digest: Digest) -> int:
    """Bytes of an object that ``store`` holds as it is or encoded. Raises as `encoded_header`."""
    if not store.missing("objects", [digest]):
        return store.size("objects", digest)
    return encoded_header(store, digest).size


def read_object(store: Store, digest: Digest, *, least: int) -> Pieces:
    """The bytes of an object that ``store`` holds as they are or encoded. Whoever keeps them hashes
    them.

    Args:
        store: Has the object.
        digest: Its name.
        least: Bytes that it has at least; more than `OBJECT_SLACK` above that is refused.

    Raises:
        MissingObject: ``store`` does not hold it, or nobody its base.
        Corrupt: It is damaged, too large, or a delta against a delta; or, while the pieces are
            taken, its base is.
    """
    if store.missing("objects", [digest]):
        return read_encoded(store, digest, least=least)
    size = store.size("objects", digest)
    if size > least + OBJECT_SLACK:
        most = f"at most {least + OBJECT_SLACK} bytes"
        raise Corrupt(f"object {digest}", most, f"{size} bytes", where_is(store))
    return Pieces(lambda: store.read("objects", digest))


def read_encoded(store: Store, digest: Digest, *, least: int | None = None) -> Pieces:
    """The bytes of an object that ``store`` holds encoded; otherwise as `read_object`.

    Where nobody knows how large it should be, ``least`` is None: what it claims is believed, up to
    `OBJECT_BYTES`.
    """
    return decode_object(store, digest, store.view("encoded", digest), least=least)


def decode_object(
    store: Store, digest: Digest, data: Buffer, *, least: int | None, near: Sequence[Store] = ()
) -> Pieces:
    """The object whose encoded form, ``data``, was read from ``store``; as `read_encoded`.

    What is decoded is hashed on the way: whoever takes all pieces without an error has the object.
    """
    header = header_of(store, digest, data)
    base = None
    with naming(store, digest):
        # An encoding that is larger than the object has no reason to be, and would be hashed whole.
        if len(data) > header.size + OBJECT_SLACK:
            raise Corrupt("", f"at most {header.size + OBJECT_SLACK} bytes", f"{len(data)} bytes")
        if least is not None and header.size > least + OBJECT_SLACK:
            raise Corrupt("", f"at most {least + OBJECT_SLACK} bytes", f"{header.size} bytes")
        if header.base is not None:
            try:
                base = _base(store, header.base, header.size, near)
            except MissingObject:
                check(data)  # a damaged header may name a base that never was
                raise
    return Pieces(lambda: _decoded(store, digest, data, header, base))


def where_is(store: Store) -> str:
    """The folder of a store, for messages; nothing for what is elsewhere."""
    return str(store) if store.is_near else ""


@contextmanager
def naming(store: Store, digest: Digest, kind: Kind = "encoded") -> Iterator[None]:
    """Say which encoded object or manifest it is that turns out to be damaged."""
    try:
        yield
    except Unsupported as error:
        raise Unsupported(f"{error}: {digest}") from error
    except Corrupt as error:
        if "blake3:" in error.what:  # it says already, as where it is another one
            raise
        name = f"{KIND_NAMES[kind]} {digest}"
        raise Corrupt(name, error.expected, error.found, where_is(store)) from error


@dataclass(frozen=True, slots=True)
class _Base:
    """What a delta was coded against, and the store that has it."""

    digest: Digest
    store: Store
    pieces: Pieces

    def check(self) -> None:
        """See whether it is what its digest says.

        Raises:
            Corrupt: It is not.
        """
        hasher = blake3()
        for piece in self.pieces:
            hasher.update(piece)
        if hasher.hexdigest() != self.digest.hex:
            digest = f"blake3:{hasher.hexdigest()}"
            raise Corrupt(f"object {self.digest}", str(self.digest), digest, where_is(self.store))


def _base(store: Store, digest: Digest, size: int, near: Sequence[Store]) -> _Base:
    for other in near:
        if not other.missing("objects", [digest]):
            return _Base(digest, other, read_object(other, digest, least=size))
    if store.missing("objects", [digest]) and encoded_header(store, digest).base is not None:
        name = f"encoded object {digest}"
        raise Corrupt(name, "a base that stands alone", "a delta", where_is(store))
    return _Base(digest, store, read_object(store, digest, least=size))


def _decoded(
    store: Store, digest: Digest, data: Buffer, header: Header, base: _Base | None
) -> Iterator[Buffer]:
    from zoo.codec.frame import decode  # numpy and the coders, where they are needed

    hasher = blake3()
    with naming(store, digest):
        try:
            pieces = base.pieces if base else None
            for piece in decode(data, limit=header.size, base=pieces):
                hasher.update(piece)
                yield piece
            if hasher.hexdigest() != digest.hex:
                raise Corrupt("", str(digest), f"blake3:{hasher.hexdigest()}")
        except Corrupt:
            if base:  # more often than not it is the base that changed
                base.check()
            raise
