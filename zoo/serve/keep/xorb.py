"""Xorb: some chunks of files, as clients of Xet send them, each compressed by itself.

A chunk is eight bytes (version 0, bytes here in 24 bits, how they are compressed, bytes of it in 24
bits), and what follows. A xorb is named by the root of a tree of its chunks' hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import lz4.frame
from blake3 import blake3

from zoo.errors import Corrupt

__all__ = ["chunk_hash", "chunks_of", "hash_text", "xorb_hash"]

XORB_BYTES = 64 << 20
"""Of all chunks, before they are compressed and after."""
CHUNK_BYTES = 128 * 1024
CHUNKS = 8192
HASH_BYTES = 32
HEADER = 8
FOOTER = b"XETBLOB"
CHUNK_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
"""Of the protocol: so no hash of a chunk is one of a node."""
FEWEST, MOST, MEAN = 3, 9, 4
"""Children of a node."""


def chunks_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks of a xorb that comes in pieces.

    Raises:
        Corrupt: It breaks the format, or has more bytes than a xorb may have.
    """
    source, total = _Reader(pieces), 0
    for _ in range(CHUNKS + 1):
        head = source.read(HEADER)
        if not head or head.startswith(FOOTER):
            return
        if len(head) < HEADER or head[0]:
            raise _bad("a chunk has no header")
        packed, scheme = int.from_bytes(head[1:4], "little"), head[4]
        size = int.from_bytes(head[5:8], "little")
        total += size
        if not 0 < size <= CHUNK_BYTES or packed > 2 * CHUNK_BYTES or total > XORB_BYTES:
            raise _bad(f"a chunk has {size} bytes, in {packed}")
        body = source.read(packed)
        if len(body) < packed:
            raise _bad("it ends within a chunk")
        yield _unpacked(body, scheme, size)
    raise _bad(f"more than {CHUNKS} chunks")


class _Reader:
    """Reads so and so many bytes of what comes in pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._rest, self._left = iter(pieces), b"", XORB_BYTES + CHUNKS * HEADER

    def read(self, count: int) -> bytes:
        """So many bytes, or what is left."""
        parts, have = [self._rest], len(self._rest)
        while have < count and (piece := next(self._pieces, None)) is not None:
            self._left -= len(piece)
            if self._left < 0:
                raise _bad(f"it has more than {XORB_BYTES} bytes")
            parts.append(piece)
            have += len(piece)
        data = b"".join(parts)
        self._rest = data[count:]
        return data[:count]


def _unpacked(data: bytes, scheme: int, size: int) -> bytes:
    if scheme == 0:
        plain = data
    elif scheme in (1, 2):
        plain = _decompressed(data, size)
    else:
        raise _bad(f"chunks are compressed in an unknown way, {scheme}")
    if len(plain) != size:
        raise _bad(f"a chunk of {size} bytes has {len(plain)}")
    return _regrouped(plain) if scheme == 2 else plain


def _decompressed(data: bytes, size: int) -> bytes:
    decoder = lz4.frame.LZ4FrameDecompressor()
    try:
        # One byte more than is told of, whatever the frame says: it may be a bomb.
        return bytes(decoder.decompress(data, max_length=size + 1))
    except (RuntimeError, EOFError) as error:
        raise _bad(f"a chunk cannot be decompressed: {error!s:.100}") from error


def _regrouped(data: bytes) -> bytes:
    """Bytes that lie by their place in a word of four, in words again."""
    whole, begin = bytearray(len(data)), 0
    for place in range(4):
        count = (len(data) - place + 3) // 4
        whole[place::4] = data[begin : begin + count]
        begin += count
    return bytes(whole)


def hash_text(digest: bytes) -> str:
    """A hash as the protocol writes it: four numbers of eight bytes each."""
    return "".join(f"{int.from_bytes(digest[at : at + 8], 'little'):016x}" for at in (0, 8, 16, 24))


def chunk_hash(chunk: bytes) -> bytes:
    """The hash of a chunk."""
    return blake3(chunk, key=CHUNK_KEY).digest()


def xorb_hash(chunks: Iterable[tuple[bytes, int]]) -> str:
    """The name of a xorb of chunks with these hashes and sizes."""
    nodes = [*chunks]
    while len(nodes) > 1:
        nodes = [_node(group) for group in _siblings(nodes)]
    return hash_text(nodes[0][0]) if nodes else "0" * 64


def _siblings(nodes: list[tuple[bytes, int]]) -> Iterator[list[tuple[bytes, int]]]:
    """The nodes by their parents: which one is a last child its hash says."""
    group: list[tuple[bytes, int]] = []
    for node in nodes:
        group.append(node)
        ends = int.from_bytes(node[0][24:], "little") % MEAN == 0
        if len(group) == MOST or (ends and len(group) >= FEWEST):
            yield group
            group = []
    if group:
        yield group


def _node(children: list[tuple[bytes, int]]) -> tuple[bytes, int]:
    text = "".join(f"{hash_text(digest)} : {size}\n" for digest, size in children)
    return blake3(text.encode(), key=NODE_KEY).digest(), sum(size for _, size in children)


def _bad(why: str) -> Corrupt:
    return Corrupt("the xorb", "chunks", why)
