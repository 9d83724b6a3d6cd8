"""Frame: encode an object into chunks, and decode it. The layout is in `zoo.codec.header`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from zoo.codec.grouped import pack_grouped, unpack_grouped
from zoo.codec.header import FIXED, Buffer, Codec, Header, check, sealed, start_of_chunks
from zoo.codec.layouts import WordLayout
from zoo.codec.planes import pack_planes, unpack_planes
from zoo.codec.text import decode_text
from zoo.codec.words import Words, from_delta, from_planes, rotate, to_delta, to_planes, unrotate
from zoo.config import cores
from zoo.domain.digest import Digest
from zoo.domain.limits import CHUNK_WORDS
from zoo.errors import Corrupt

__all__ = ["decode", "encode"]

DECODERS = 4
"""Chunks of an object that are decoded at a time: each takes some five times its bytes."""
P = TypeVar("P")
T = TypeVar("T")


def encode(
    codec: Codec,
    data: Buffer,
    layout: WordLayout,
    base: Buffer | None = None,
    base_digest: Digest | None = None,
) -> bytes:
    """Encode an object, on all cores.

    Args:
        codec: FULL, or FAST or MAX, which need a base.
        data: The object; a whole number of words.
        layout: Layout of its words.
        base: The object to code the difference from; of the same size.
        base_digest: Its name.
    """
    words = _words(data, layout)
    parents = None if base is None else _words(base, layout)

    def pack(begin: int) -> bytes:
        part = words[begin : begin + CHUNK_WORDS]
        parent = None if parents is None else parents[begin : begin + CHUNK_WORDS]
        return _pack(codec, part, parent, layout)

    chunks = _on_all_cores(pack, range(0, len(words), CHUNK_WORDS))
    return sealed(codec, layout, len(data), base_digest, CHUNK_WORDS, chunks)


def decode(
    data: Buffer, *, limit: int, base: Iterable[Buffer] | None = None
) -> Iterator[memoryview]:
    """Decode an object in pieces, a few chunks at a time. Whoever keeps it checks its digest.

    Args:
        data: The encoded object.
        limit: Most bytes that it may have when decoded; more is refused before allocating.
        base: The base object's bytes in pieces, for a delta.

    Raises:
        Corrupt: The data is damaged, too large, or a delta against something else; some of it only
            while the pieces are taken.
        Unsupported: A newer format.
    """
    header = check(data)  # the checksum first: decoders are not made for damaged bytes
    if header.size > limit:
        raise Corrupt("an encoded object", f"at most {limit} bytes", f"{header.size} bytes")
    if header.base is not None and base is None:
        raise Corrupt("the base of an encoded object", f"{header.size} bytes", "none")
    if header.codec == Codec.ZSTD:
        return iter([memoryview(decode_text(data, limit=limit, base=base or ()))])
    ends, view = _table(data, header)

    def unpack(index: int, parent: Buffer | None) -> memoryview:
        words = header.size // header.layout.width
        count = min(header.chunk, words - index * header.chunk)
        first = int(ends[index - 1]) if index else 0
        chunk = view[first : int(ends[index])]
        parents = None if parent is None else _words(parent, header.layout)
        return memoryview(_unpack(header, chunk, count, parents).view(np.uint8).data)

    if header.base is None or base is None:
        return _few_at_once(unpack, repeat(None, header.chunks))
    return _few_at_once(unpack, _parts(base, header))


def _parts(base: Iterable[Buffer], header: Header) -> Iterator[Buffer]:
    """The base cut into chunks as the object is."""
    size, remaining = header.chunk * header.layout.width, header.size
    for part in _cut(base, size):
        if len(part) != min(size, remaining):
            break
        yield part
        remaining -= len(part)
    if remaining:
        raise Corrupt("the base of an encoded object", f"{header.size} bytes", "another size")


def _cut(pieces: Iterable[Buffer], size: int) -> Iterator[Buffer]:
    """The same bytes in pieces of ``size``, the last one of what is left."""
    buffer = bytearray()
    for piece in pieces:
        rest = memoryview(piece)
        while len(buffer) + len(rest) >= size:
            missing = size - len(buffer)
            yield b"".join([buffer, rest[:missing]]) if buffer else rest[:missing]
            buffer.clear()
            rest = rest[missing:]
        buffer += rest
    if buffer:
        yield bytes(buffer)


def _table(data: Buffer, header: Header) -> tuple[NDArray[np.uint64], memoryview]:
    """End of each chunk, counted from the first byte of the first, and the bytes of all chunks."""
    start = start_of_chunks(header)
    if start > len(data):
        raise Corrupt("an encoded object", f"{header.chunks} chunks", f"{len(data)} bytes")
    view = memoryview(data)
    ends = np.frombuffer(view[FIXED.size : start], "<u8")
    last = int(ends[-1]) if len(ends) else 0
    if last != len(data) - start or not np.all(ends[:-1] <= ends[1:]):
        raise Corrupt("an encoded object", "chunks one after another", "a chunk table that is not")
    return ends, view[start:]


def _words(data: Buffer, layout: WordLayout) -> Words:
    words: Words = np.frombuffer(data, layout.unsigned)
    return words


def _pack(codec: Codec, words: Words, base: Words | None, layout: WordLayout) -> bytes:
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


def _few_at_once(work: Callable[[int, P], T], parts: Iterable[P]) -> Iterator[T]:
    """``work`` for each part, in order; no more results wait than there are threads, so that the
    whole is never in memory.
    """
    threads = min(cores(), DECODERS)
    running: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for index, part in enumerate(parts):
            running.append(pool.submit(work, index, part))
            if len(running) > threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
