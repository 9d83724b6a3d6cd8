"""Frame: an encoded object, header and chunks.

    0   4  "ZOOC"
    4   1  format version, 1
    5   1  codec: 1 FULL, 2 FAST, 3 MAX
    6   1  layout of a word (`zoo.codec.words.LAYOUTS`)
    7   1  0
    8   8  size of the decoded object in bytes
    16  32 BLAKE3 of the base object; zeros for FULL
    48  32 BLAKE3 of all other bytes of the encoded object
    80  4  words in a chunk, the last one's may be fewer
    84  4  number of chunks, n
    88  8n end of each chunk, counted from the end of this table
        …  the chunks

All numbers are little-endian.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import numpy as np
from blake3 import blake3

from zoo.codec.grouped import pack_grouped, unpack_grouped
from zoo.codec.huffman import pack_planes, unpack_planes
from zoo.codec.words import (
    LAYOUTS,
    Layout,
    Words,
    from_delta,
    from_planes,
    rotate,
    to_delta,
    to_planes,
    unrotate,
)
from zoo.domain.digest import Digest
from zoo.errors import Corrupt, Unsupported

__all__ = ["FIXED", "Codec", "Header", "check", "decode", "encode", "read_header"]

MAGIC = b"ZOOC"
VERSION = 1
FIXED = struct.Struct("<4sBBBxQ32s32sII")
CHUNK = 256 * 1024
BY_NUMBER = {layout.number: layout for layout in LAYOUTS.values()}
Buffer = bytes | memoryview
T = TypeVar("T")


class Codec(IntEnum):
    """FULL stands alone; FAST and MAX are deltas against a base of the same size."""

    FULL = 1
    FAST = 2
    MAX = 3


@dataclass(frozen=True, slots=True)
class Header:
    """What an encoded object says of itself, its chunk table left out.

    Attributes:
        codec: How it is coded.
        layout: Layout of its words.
        size: Bytes when decoded.
        base: The object that it is a delta against; None for FULL.
        checksum: BLAKE3 of all other bytes.
        chunk: Words in a chunk.
        chunks: Number of chunks.
    """

    codec: Codec
    layout: Layout
    size: int
    base: Digest | None
    checksum: bytes
    chunk: int
    chunks: int


def encode(
    codec: Codec, data: Buffer, layout: Layout, base: Buffer | None = None,
    base_digest: Digest | None = None,
) -> bytes:  # fmt: skip
    """Encode an object, on all cores.

    Args:
        codec: FAST and MAX need a base.
        data: The object; a whole number of words.
        layout: Layout of its words.
        base: The object to code the difference from; of the same size.
        base_digest: Its name.
    """
    words = _words(data, layout)
    parents = None if base is None else _words(base, layout)

    def pack(begin: int) -> bytes:
        part = words[begin : begin + CHUNK]
        parent = None if parents is None else parents[begin : begin + CHUNK]
        return _pack(codec, part, parent, layout)

    chunks = _on_all_cores(pack, range(0, len(words), CHUNK))
    ends = np.cumsum([len(chunk) for chunk in chunks], dtype="<u8").tobytes()
    body = b"".join([ends, *chunks])
    name = bytes.fromhex(base_digest.hex) if base_digest else bytes(32)
    fixed = FIXED.pack(
        MAGIC, VERSION, codec, layout.number, len(data), name, bytes(32), CHUNK, len(chunks)
    )
    checksum = _checksum(fixed + body)
    return b"".join([fixed[:48], checksum, fixed[80:], body])


def read_header(data: Buffer) -> Header:
    """Read the fixed part of an encoded object; the rest need not be there.

    Raises:
        Corrupt: The data is no encoded object.
        Unsupported: A newer format, codec or layout.
    """
    if len(data) < FIXED.size or data[:4] != MAGIC:
        raise Corrupt("an encoded object", "ZOOC", "something else")
    _, version, codec, layout, size, base, checksum, chunk, count = FIXED.unpack(data[: FIXED.size])
    if version != VERSION or layout not in BY_NUMBER or codec not in list(Codec):
        raise Unsupported(f"encoded object: format {version}, codec {codec}, layout {layout}")
    words, rest = divmod(size, BY_NUMBER[layout].width)
    if rest or not chunk or count != -(-words // chunk):
        raise Corrupt("an encoded object", "chunks that fit its size", f"{count} chunks")
    return Header(
        codec=Codec(codec),
        layout=BY_NUMBER[layout],
        size=size,
        base=None if codec == Codec.FULL else Digest("blake3", base.hex()),
        checksum=checksum,
        chunk=chunk,
        chunks=count,
    )


def check(data: Buffer) -> Header:
    """Check an encoded object without decoding it; its header.

    Raises:
        Corrupt: The data is damaged, or no encoded object.
        Unsupported: A newer format.
    """
    header = read_header(data)
    found = _checksum(data)
    if found != header.checksum:
        raise Corrupt("an encoded object", header.checksum.hex(), found.hex())
    return header


def decode(data: Buffer, *, limit: int, base: Buffer | None = None) -> memoryview:
    """Decode an object, on all cores. Whoever keeps it checks its digest.

    Args:
        data: The encoded object.
        limit: Most bytes that it may have when decoded; more is refused before allocating.
        base: The base object's bytes, for a delta.

    Raises:
        Corrupt: The data is damaged, too large, or a delta against something else.
        Unsupported: A newer format.
    """
    header = check(data)
    if header.size > limit:
        raise Corrupt("an encoded object", f"at most {limit} bytes", f"{header.size} bytes")
    if header.base is not None and (base is None or len(base) != header.size):
        raise Corrupt("the base of an encoded object", f"{header.size} bytes", "another size")
    words = np.empty(header.size // header.layout.width, header.layout.unsigned)
    parents = None if base is None else _words(base, header.layout)
    ends, view = _table(data, header)

    def unpack(index: int) -> None:
        begin = index * header.chunk
        target = words[begin : begin + header.chunk]
        first = ends[index - 1] if index else 0
        parent = None if parents is None else parents[begin : begin + header.chunk]
        target[:] = _unpack(header, view[first : ends[index]], len(target), parent)

    _on_all_cores(unpack, range(header.chunks))
    return memoryview(words.view(np.uint8).data)


def _table(data: Buffer, header: Header) -> tuple[list[int], memoryview]:
    """End of each chunk, counted from the first byte of the first, and the bytes of all chunks."""
    start = FIXED.size + 8 * header.chunks
    if start > len(data):
        raise Corrupt("an encoded object", f"{header.chunks} chunks", f"{len(data)} bytes")
    ends: list[int] = np.frombuffer(data[FIXED.size : start], "<u8").tolist()
    if ends != sorted(ends) or (ends[-1] if ends else 0) != len(data) - start:
        raise Corrupt("an encoded object", "chunks one after another", "a chunk table that is not")
    return ends, memoryview(data)[start:]


def _checksum(data: Buffer) -> bytes:
    return blake3(data[:48]).update(data[80:]).digest()


def _words(data: Buffer, layout: Layout) -> Words:
    words: Words = np.frombuffer(data, layout.unsigned)
    return words


def _pack(codec: Codec, words: Words, base: Words | None, layout: Layout) -> bytes:
    if base is None:
        return pack_planes(to_planes(rotate(words) if layout.exponent else words))
    delta = to_delta(words, base)
    if codec == Codec.MAX:
        return pack_grouped(delta, base, layout)
    return pack_planes(to_planes(delta))


def _unpack(header: Header, chunk: memoryview, count: int, base: Words | None) -> Words:
    layout = header.layout
    if header.codec == Codec.FULL:
        words = from_planes(unpack_planes(chunk, layout.width, count), layout)
        return unrotate(words) if layout.exponent else words
    assert base is not None
    if header.codec == Codec.MAX:
        return from_delta(unpack_grouped(chunk, base, layout), base)
    return from_delta(from_planes(unpack_planes(chunk, layout.width, count), layout), base)


def _on_all_cores(work: Callable[[int], T], items: Sequence[int]) -> list[T]:
    """Run ``work`` for each item in threads: numpy, zstd and pcodec let go of the interpreter."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, items))
