"""Header of an encoded object: what it says of itself, and its checksum.

    0   4  "ZOOC"
    4   1  format version, 1
    5   1  codec: 1 FULL, 2 FAST, 3 MAX, 4 ZSTD
    6   1  layout of a word (`zoo.codec.layouts.LAYOUTS`)
    7   1  0
    8   8  size of the decoded object in bytes
    16  32 BLAKE3 of the base; zeros where there is none
    48  32 BLAKE3 of all other bytes of the encoded object
    80  4  words in a chunk, the last one's may be fewer
    84  4  number of chunks, n
    88  8n end of each chunk, counted from the end of this table
        …  the chunks

All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate

from blake3 import blake3

from zoo.codec.layouts import LAYOUTS, WordLayout
from zoo.domain.digest import Digest
from zoo.domain.limits import CHUNK_LEAST, CHUNK_WORDS, TEXT_BYTES
from zoo.errors import Corrupt, Unsupported

__all__ = [
    "FIXED",
    "MAGIC",
    "VERSION",
    "Buffer",
    "Codec",
    "Header",
    "check",
    "checksum",
    "read_header",
    "sealed",
    "start_of_chunks",
]

MAGIC = b"ZOOC"
VERSION = 1
FIXED = struct.Struct("<4sBBBxQ32s32sII")
BY_NUMBER = {layout.number: layout for layout in LAYOUTS.values()}
Buffer = bytes | memoryview


class Codec(IntEnum):
    """FULL stands alone; FAST and MAX are deltas against a base of the same size. ZSTD is of text
    (`zoo.codec.text`), alone or against a base of any size.
    """

    FULL = 1
    FAST = 2
    MAX = 3
    ZSTD = 4


@dataclass(frozen=True, slots=True)
class Header:
    """What an encoded object says of itself, its chunk table left out.

    Attributes:
        codec: How it is coded.
        layout: Layout of its words.
        size: Bytes when decoded.
        base: What it is a delta against; None where it stands alone.
        checksum: BLAKE3 of all other bytes.
        chunk: Words in a chunk.
        chunks: Number of chunks.
    """

    codec: Codec
    layout: WordLayout
    size: int
    base: Digest | None
    checksum: bytes
    chunk: int
    chunks: int


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
        what = f"an encoded object of format {version}, codec {codec}, layout {layout}"
        raise Unsupported(what)
    words, rest = divmod(size, BY_NUMBER[layout].width)
    if rest or not chunk or count != -(-words // chunk):
        raise Corrupt("an encoded object", "chunks that fit its size", f"{count} chunks")
    _check_chunks(Codec(codec), BY_NUMBER[layout], chunk, count)
    alone = codec == Codec.FULL or (codec == Codec.ZSTD and not any(base))
    return Header(
        codec=Codec(codec),
        layout=BY_NUMBER[layout],
        size=size,
        base=None if alone else Digest("blake3", base.hex()),
        checksum=checksum,
        chunk=chunk,
        chunks=count,
    )


def _check_chunks(codec: Codec, layout: WordLayout, chunk: int, count: int) -> None:
    if codec == Codec.ZSTD:
        if chunk > TEXT_BYTES or count != 1 or layout.width != 1:
            expected = f"one chunk of at most {TEXT_BYTES} bytes"
            raise Corrupt("an encoded text", expected, f"{count} of {chunk} words")
    elif chunk > CHUNK_WORDS or (count > 1 and chunk < CHUNK_LEAST):
        expected = f"chunks of {CHUNK_LEAST} to {CHUNK_WORDS} words"
        raise Corrupt("an encoded object", expected, f"chunks of {chunk}")


def start_of_chunks(header: Header) -> int:
    """Where the chunk table ends."""
    return FIXED.size + 8 * header.chunks


def sealed(
    codec: Codec,
    layout: WordLayout,
    size: int,
    base: Digest | None,
    chunk: int,
    chunks: Sequence[bytes],
) -> bytes:
    """An encoded object of these chunks, with its header, chunk table and checksum."""
    name = bytes.fromhex(base.hex) if base else bytes(32)
    fixed = FIXED.pack(
        MAGIC, VERSION, codec, layout.number, size, name, bytes(32), chunk, len(chunks)
    )
    ends = struct.pack(f"<{len(chunks)}Q", *accumulate(map(len, chunks)))
    body = b"".join([ends, *chunks])
    return b"".join([fixed[:48], checksum(fixed + body), fixed[80:], body])


def check(data: Buffer) -> Header:
    """Check an encoded object without decoding it; its header.

    Raises:
        Corrupt: The data is damaged, or no encoded object.
        Unsupported: A newer format.
    """
    header = read_header(data)
    actual = checksum(data)
    if actual != header.checksum:
        raise Corrupt("an encoded object", header.checksum.hex(), actual.hex())
    return header


def checksum(data: Buffer) -> bytes:
    """BLAKE3 of all bytes of an encoded object but the checksum's own."""
    return blake3(data[:48]).update(data[80:]).digest()
