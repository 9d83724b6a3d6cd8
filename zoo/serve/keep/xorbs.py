"""Xorbs: those of one upload, on the disk, until its files are put together.

They are nobody else's: a xorb says what it is called itself, and others might rely on it. Some were
never sent, but are virtual: they stand for chunks of files that are here (`zoo.serve.keep.hint`).
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, chain
from secrets import token_hex
from typing import BinaryIO, Protocol

import msgspec

from zoo.errors import Corrupt, disk_errors
from zoo.serve.keep.chunk_list import Chunk
from zoo.serve.keep.files import FileLayout
from zoo.serve.keep.hint import VirtualXorb
from zoo.serve.keep.shard import ChunkRange, ShardFile
from zoo.serve.keep.xorb import HASH_BYTES, chunk_hash, chunks_of, xorb_hash
from zoo.store import Store
from zoo.store.capabilities import read_small

__all__ = ["VirtualReader", "Xorbs"]

PIECE = 256 * 1024
NUMBER = 4
VIRTUAL, HINT = "virtual.json", "hint"
HINT_BYTES = 64 << 20
VIRTUAL_DECODER = msgspec.json.Decoder(list[VirtualXorb])
OpenVirtual = Callable[[VirtualXorb], "VirtualReader"]


class Xorbs:
    """The xorbs of an upload, in a folder; ``open_virtual`` finds the file that one stands for."""

    def __init__(self, store: Store, folder: str, open_virtual: OpenVirtual) -> None:
        self._store, self.folder, self._open_virtual = store, folder, open_virtual
        self._virtual: dict[str, VirtualXorb] | None = None
        # A shard may go to and fro between them a million times.
        self._opened: dict[str, VirtualReader] = {}

    def has(self, name: str) -> bool:
        """Whether a xorb has arrived."""
        return self._store.backend.stat(f"{self.folder}/{name}") is not None

    def hint(self) -> bytes | None:
        """What the client was told of chunks that are here; None if it has not asked yet."""
        with suppress(FileNotFoundError):
            return read_small(self._store.backend, f"{self.folder}/{HINT}", HINT_BYTES)
        return None

    def tell(self, hint: bytes, virtual: Sequence[VirtualXorb]) -> None:
        """Keep what the client is told, and what the xorbs in it stand for."""
        backend = self._store.backend
        backend.put(f"{self.folder}/{VIRTUAL}", [msgspec.json.encode(virtual)])
        backend.put(f"{self.folder}/{HINT}", [hint])

    def keep(self, name: str, pieces: Iterable[bytes]) -> None:
        """Keep a xorb: its chunks as they are in files, their hashes, where each ends, and how many
        they are.

        Raises:
            Corrupt: It breaks the format, or is another one.
            DiskFull: No space left.
        """
        staged = f"{self.folder}/{token_hex(8)}"
        disk = self._store.disk
        file, chunks = disk.make(staged), list[Chunk]()
        try:
            with disk_errors(disk.root / self.folder), file:
                for chunk in chunks_of(pieces):
                    chunks.append(Chunk(chunk_hash(chunk), len(chunk)))
                    file.write(chunk)
                ends = array("I", accumulate(chunk.size for chunk in chunks))
                file.write(b"".join(chunk.hash for chunk in chunks))
                file.write(ends.tobytes() + array("I", [len(ends)]).tobytes())
            if (actual := xorb_hash(chunks)) != name:
                raise Corrupt("the xorb", name, actual)
            self._store.local.publish(staged, f"{self.folder}/{name}", over=True)
        finally:
            disk.remove(staged)

    def read(self, file: ShardFile) -> Iterator[bytes | memoryview]:
        """The bytes of a file.

        Raises:
            Corrupt: A span of it is in no xorb that has arrived.
        """
        for xorb, span in self._spans(file):
            yield from xorb.read(span)

    def chunks(self, file: ShardFile) -> list[Chunk]:
        """The chunks of a file. Raises as `read`."""
        return [*chain.from_iterable(xorb.chunks(span) for xorb, span in self._spans(file))]

    def _spans(self, file: ShardFile) -> Iterator[tuple[_Xorb, ChunkRange]]:
        """The spans of a file, each with its xorb; one is open at a time."""
        name, opened = "", None
        try:
            for span in file.spans:
                if opened is None or name != span.xorb:
                    if opened:
                        opened.close()
                    name, opened = span.xorb, self._open(span.xorb)
                yield opened, span
        finally:
            if opened:
                opened.close()

    def _open(self, name: str) -> _Xorb:
        with suppress(FileNotFoundError):
            return _Sent(self._store.local.file(f"{self.folder}/{name}"))
        if self._virtual is None:
            self._virtual = {xorb.name: xorb for xorb in self._all_virtual()}
        if xorb := self._virtual.get(name):
            if name not in self._opened:
                self._opened[name] = self._open_virtual(xorb)
            return self._opened[name]
        raise Corrupt("the shard", f"xorb {name}", "none of that name was sent")

    def _all_virtual(self) -> list[VirtualXorb]:
        with suppress(FileNotFoundError):
            key = f"{self.folder}/{VIRTUAL}"
            return VIRTUAL_DECODER.decode(read_small(self._store.backend, key, HINT_BYTES))
        return []


class _Xorb(Protocol):
    """A xorb that is read."""

    def read(self, span: ChunkRange) -> Iterator[bytes | memoryview]:
        """The bytes of some of its chunks."""

    def chunks(self, span: ChunkRange) -> Sequence[Chunk]:
        """These chunks."""

    def close(self) -> None:
        """Let go of it."""


class _Sent:
    """One that was sent."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        size = os.fstat(file.fileno()).st_size
        (count,) = array("I", os.pread(file.fileno(), NUMBER, size - NUMBER))
        self._hashes_at = size - NUMBER - count * (NUMBER + HASH_BYTES)
        table = os.pread(file.fileno(), NUMBER * count, size - NUMBER * (count + 1))
        self._ends = array("I", table)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, span: ChunkRange) -> Iterator[bytes]:
        """The bytes of some of its chunks."""
        at, end = _range(self._ends, span)
        while at < end:
            piece = os.pread(self._file.fileno(), min(PIECE, end - at), at)
            at += len(piece)
            yield piece

    def chunks(self, span: ChunkRange) -> list[Chunk]:
        """These chunks."""
        at, _ = _range(self._ends, span)
        count, where = span.end - span.begin, self._hashes_at + HASH_BYTES * span.begin
        hashes = os.pread(self._file.fileno(), HASH_BYTES * count, where)
        chunks = []
        for number, end in enumerate(self._ends[span.begin : span.end]):
            chunks.append(Chunk(hashes[HASH_BYTES * number :][:HASH_BYTES], end - at))
            at = end
        return chunks


class VirtualReader:
    """One that stands for ``chunks`` of a file that is here, which begin at ``offset``."""

    def __init__(self, file: FileLayout, offset: int, chunks: Sequence[Chunk]) -> None:
        self._file, self._offset, self._chunks = file, offset, chunks
        self._ends = array("I", accumulate(chunk.size for chunk in chunks))

    def close(self) -> None:
        """Nothing is open."""

    def read(self, span: ChunkRange) -> Iterator[bytes | memoryview]:
        """The bytes of some of its chunks."""
        begin, end = _range(self._ends, span)
        for part in self._file.parts(self._offset + begin, self._offset + end):
            yield from part.pieces()

    def chunks(self, span: ChunkRange) -> Sequence[Chunk]:
        """These chunks."""
        _range(self._ends, span)
        return self._chunks[span.begin : span.end]


def _range(ends: Sequence[int], span: ChunkRange) -> tuple[int, int]:
    """The bytes of a xorb that a span has.

    Raises:
        Corrupt: It has no such chunks, or others.
    """
    if span.end > len(ends):
        raise Corrupt("the shard", f"chunk {span.end} of a xorb", f"{len(ends)}")
    begin, end = ends[span.begin - 1] if span.begin else 0, ends[span.end - 1]
    if end - begin != span.size:
        raise Corrupt("the shard", f"a span of {span.size} bytes", f"{end - begin}")
    return begin, end
