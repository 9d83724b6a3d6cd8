"""Planes: byte planes through zstd, set up to be an almost pure Huffman coder.

The bytes of a plane have a skewed histogram but hardly repeat: matching costs time and, measured,
size. The result is ordinary zstd frames.
"""

from __future__ import annotations

import threading

import numpy as np
import zstandard
from numpy.typing import NDArray

from zoo.errors import Corrupt

__all__ = ["pack_planes", "unpack_planes"]

PROBE = 32 * 1024
WORTH = 0.98
STORED = 1 << 31
PARAMETERS = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_FAST,
    window_log=17,
    hash_log=6,
    chain_log=6,
    search_log=1,
    min_match=7,
)
# One (de)compressor shared by two threads crashes the process (python-zstandard issue 244).
_own = threading.local()


def pack_planes(planes: NDArray[np.uint8]) -> bytes:
    """Each plane as four bytes of length (the highest bit set if stored as it is) and its bytes."""
    parts = []
    for plane in planes:
        packed = _pack(plane)
        flag = STORED if packed is None else 0
        body = plane.tobytes() if packed is None else packed
        parts += [(len(body) | flag).to_bytes(4, "little"), body]
    return b"".join(parts)


def unpack_planes(data: memoryview, width: int, count: int) -> NDArray[np.uint8]:
    """Inverse of `pack_planes`: ``(width, count)`` bytes.

    Raises:
        Corrupt: The data is not ``width`` planes of ``count`` bytes.
    """
    planes = np.empty((width, count), np.uint8)
    position = 0
    for plane in planes:
        head = int.from_bytes(data[position : position + 4], "little")
        length = head & ~STORED
        body = data[position + 4 : position + 4 + length]
        position += 4 + length
        plain = bytes(body) if head & STORED else _unpack(body, count)
        if len(plain) != count:
            raise Corrupt("an encoded plane", f"{count} bytes", f"{len(plain)} bytes")
        plane[:] = np.frombuffer(plain, np.uint8)
    if position != len(data):
        raise Corrupt("an encoded chunk", f"{len(data)} bytes", f"{position} bytes")
    return planes


def _pack(plane: NDArray[np.uint8]) -> bytes | None:
    if not hasattr(_own, "packer"):
        _own.packer = zstandard.ZstdCompressor(compression_params=PARAMETERS)
    probe = plane[:PROBE]
    packed: bytes = _own.packer.compress(probe.tobytes())
    if len(packed) >= len(probe) * WORTH:
        return None
    if len(plane) > PROBE:
        packed = _own.packer.compress(plane.tobytes())
    return packed


def _unpack(body: memoryview, count: int) -> bytes:
    if not hasattr(_own, "unpacker"):
        _own.unpacker = zstandard.ZstdDecompressor()
    try:
        size = zstandard.frame_content_size(body)
        if size != count:  # before allocating what a stranger's frame asks for
            raise Corrupt("an encoded plane", f"{count} bytes", f"{size} bytes")
        plain: bytes = _own.unpacker.decompress(body, max_output_size=count)
    except zstandard.ZstdError as error:
        raise Corrupt("an encoded plane", "a zstd frame", str(error)) from error
    return plain
