"""Incoming: a file as it arrives, taken apart into objects in one pass.

What becomes of it is what `zoo.store.files` makes of the same file on a disk. Nothing has a name in
the store before all of it is here and whoever takes it in has seen that it is what was promised.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from zoo.domain.digest import Digest
from zoo.domain.limits import UPLOADED_HEADER_BYTES
from zoo.domain.manifest import Tensor
from zoo.errors import Corrupt, InvalidWeights, MissingObject, disk_errors
from zoo.store.encoded import absent
from zoo.store.files import LARGE, joined, offsets_in, small_groups
from zoo.store.header import Entry, Header, parse_header
from zoo.store.listing import map_each, name_of
from zoo.store.store import Store

__all__ = ["Incoming", "incoming"]

NAME = Path("the file")
"""What it is called in messages: nobody has said yet."""


@dataclass(kw_only=True)
class Incoming:
    """A file that has arrived.

    Attributes:
        size: Its bytes.
        sha256: Of all of it.
        object: The object that has it whole, or the header of what was taken apart.
        tensors: Those of a safetensors file, in file order; empty of any other.
    """

    size: int
    sha256: Digest
    object: Digest
    tensors: tuple[Tensor, ...]
    _store: Store = field(repr=False)
    _staged: dict[Digest, str] = field(repr=False)

    @property
    def objects(self) -> set[Digest]:
        """All objects that hold it."""
        return {self.object, *(tensor.object for tensor in self.tensors)}

    def publish(self) -> None:
        """Give the objects their names. In an upload of the store, else a prune could take them.

        Raises:
            MissingObject: One that was here when it was met, or was written, has been deleted.
        """
        deque(map_each(self._store, self._publish, self._staged), maxlen=0)
        if lacking := absent(self._store, self.objects):
            raise MissingObject("object", str(min(lacking)), str(self._store))

    def _publish(self, digest: Digest) -> None:
        try:
            self._store.local.publish(self._staged[digest], name_of("objects", digest))
        except FileNotFoundError as error:  # it took so long that it was cleared away
            raise MissingObject("object", str(digest), str(self._store)) from error


@contextmanager
def incoming(
    store: Store, pieces: Iterable[bytes | memoryview], *, size: int, folder: str
) -> Iterator[Incoming]:
    """Take in a file of ``size`` bytes that comes in ``pieces``. It is written below ``folder``,
    of the store's disk, and is gone at the end unless it was published.

    Memory is taken for a piece, and for the header of a safetensors file.

    Raises:
        Corrupt: There are more bytes than that, or fewer.
        DiskFull: No space left.
    """
    staging = _Staging(store, folder)
    try:
        with disk_errors(store.root / folder):
            source = _Source(pieces, size)
            head, header = _begin(source, size)
            if header:
                whole = staging.add([head])
                tensors = _take_tensors(staging, source, header)
            else:
                whole, tensors = staging.add(_with(head, source.take(size))), ()
            source.end()
        sha256 = Digest("sha256", source.sha256.hexdigest())
        yield Incoming(
            size=size,
            sha256=sha256,
            object=whole,
            tensors=tensors,
            _store=store,
            _staged=staging.kept,
        )
    finally:
        staging.clear()


class _Source:
    """The bytes of a file as they come, counted and hashed on their way."""

    def __init__(self, pieces: Iterable[bytes | memoryview], size: int) -> None:
        self.sha256 = hashlib.sha256()
        self._left, self._size = size, size
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def take(self, count: int) -> Iterator[memoryview]:
        """The next ``count`` bytes, or what is left of the file."""
        count = min(count, self._left)
        while count:
            if not self._rest:
                self._rest = self._next()
            part, self._rest = self._rest[:count], self._rest[count:]
            count -= len(part)
            self._left -= len(part)
            self.sha256.update(part)
            yield part

    def _next(self) -> memoryview:
        for piece in self._pieces:
            if piece:
                return memoryview(piece)
        raise self._wrong(self._size - self._left)

    def end(self) -> None:
        """See that nothing follows."""
        if self._rest or any(len(piece) for piece in self._pieces):
            raise self._wrong("more")

    def _wrong(self, actual: object) -> Corrupt:
        return Corrupt(str(NAME), f"{self._size} bytes", f"{actual}")


class _Staging:
    """Objects that are written and have no names yet."""

    def __init__(self, store: Store, folder: str) -> None:
        self.kept: dict[Digest, str] = {}
        self._store, self._folder, self._made = store, folder, 0

    def add(self, pieces: Iterable[bytes | memoryview]) -> Digest:
        """Write an object, unless it is here already."""
        hasher = blake3()
        name, file = self.make()
        with file:
            for piece in pieces:
                hasher.update(piece)
                file.write(piece)
            digest = Digest("blake3", hasher.hexdigest())
            if digest not in self.kept and absent(self._store, [digest]):
                self._store.disk.fsync_file(file)
                self.kept[digest] = name
                return digest
        self._store.disk.remove(name)
        return digest

    def make(self) -> tuple[str, BinaryIO]:
        """A new file, and its name."""
        name = f"{self._folder}/{self._made}"
        self._made += 1
        return name, self._store.disk.make(name)

    def clear(self) -> None:
        """Delete what has got no other name."""
        for number in range(self._made):
            self._store.disk.remove(f"{self._folder}/{number}")
        self._store.disk.remove_folder(self._folder)


def _with(head: bytes, rest: Iterator[memoryview]) -> Iterator[bytes | memoryview]:
    yield head
    yield from rest


def _begin(source: _Source, size: int) -> tuple[bytes, Header | None]:
    """The first bytes of a file: all of its header, if it is a safetensors file that can be taken
    apart.
    """
    head = b"".join(source.take(9))
    length = 8 + int.from_bytes(head[:8], "little")
    most = min(size, UPLOADED_HEADER_BYTES)
    if len(head) < 9 or head[8:] != b"{" or not len(head) <= length <= most:
        return head, None
    head += b"".join(source.take(length - 9))
    try:
        return head, parse_header(NAME, memoryview(head), size)
    except InvalidWeights:  # kept as any other file
        return head, None


def _take_tensors(staging: _Staging, source: _Source, header: Header) -> tuple[Tensor, ...]:
    """The tensors that follow a header. The smaller ones lie in one file until all are here: those
    that travel together need not come together.
    """
    places: dict[str, tuple[Digest, int]] = {}
    positions: dict[str, int] = {}
    _, spill = staging.make()
    with spill:
        for entry in header.entries:
            pieces = source.take(entry.end - entry.begin)
            if entry.end - entry.begin >= LARGE:
                places[entry.name] = staging.add(pieces), 0
                continue
            positions[entry.name] = spill.tell()
            for piece in pieces:
                spill.write(piece)
        spill.flush()
        places |= dict(_add_small(staging, spill, header, positions))
    return tuple(
        Tensor(
            name=entry.name,
            dtype=entry.dtype,
            shape=entry.shape,
            object=places[entry.name][0],
            offset=places[entry.name][1],
            nbytes=entry.end - entry.begin,
        )
        for entry in header.entries
    )


def _add_small(
    staging: _Staging, spill: BinaryIO, header: Header, positions: dict[str, int]
) -> Iterator[tuple[str, tuple[Digest, int]]]:
    """Where the smaller tensors are, which lie in ``spill`` at these positions."""
    size = spill.tell()
    data = memoryview(mmap(spill.fileno(), size, access=ACCESS_READ) if size else b"")

    def read(entry: Entry) -> memoryview:
        begin = positions[entry.name]
        return data[begin : begin + entry.end - entry.begin]

    for group in small_groups(header.entries):
        digest = staging.add(joined(group, read))
        for entry, offset in zip(group, offsets_in(group), strict=True):
            yield entry.name, (digest, offset)
