"""Frame: encode an object into chunks, and decode it. The layout is in `zoo.codec.header`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from zoo.codec.grouped import pack_grouped, unpack_grouped
from zoo.codec.header import FIXED, MAGIC, VERSION, Buffer, Codec, Header, check, checksum
from zoo.codec.huffman import pack_planes, unpack_planes
from zoo.codec.layouts import Layout
from zoo.codec.words import Words, from_delta, from_planes, rotate, to_delta, to_planes, unrotate
from zoo.config import cores
from zoo.domain.digest import Digest
from zoo.errors import Corrupt

__all__ = ["decode", "encode"]

CHUNK = 256 * 1024
T = TypeVar("T")


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
    return b"".join([fixed[:48], checksum(fixed + body), fixed[80:], body])


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
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(work, items))
