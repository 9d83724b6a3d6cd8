"""Files as clients of Xet send them, made by hand."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import lz4.frame

from zoo.serve.keep.xorb import chunk_hash, xorb_hash

__all__ = ["CHUNK", "packed", "raw", "sha256", "shard", "xorb"]

CHUNK = 64 * 1024


def packed(chunk: bytes, scheme: int = 0) -> bytes:
    """A chunk, compressed in one of three ways."""
    plain = b"".join(chunk[place::4] for place in range(4)) if scheme == 2 else chunk
    body = lz4.frame.compress(plain) if scheme else plain
    sizes = len(body).to_bytes(3, "little"), len(chunk).to_bytes(3, "little")
    return b"\0" + sizes[0] + bytes([scheme]) + sizes[1] + body


def xorb(data: bytes, chunk: int = CHUNK) -> tuple[str, bytes, int]:
    """The name of a xorb of all of ``data``, its bytes, and its number of chunks."""
    chunks = [data[at : at + chunk] for at in range(0, len(data), chunk)]
    name = xorb_hash([(chunk_hash(each), len(each)) for each in chunks])
    return name, b"".join(packed(each, at % 3) for at, each in enumerate(chunks)), len(chunks)


def raw(text: str) -> bytes:
    """The bytes of a hash that is written as the protocol does."""
    return b"".join(int(text[at : at + 16], 16).to_bytes(8, "little") for at in (0, 16, 32, 48))


def shard(files: Sequence[tuple[str, Sequence[tuple[str, int, int, int]]]]) -> bytes:
    """A shard of files: the SHA-256 of each, and its spans: xorb, first chunk, end, bytes."""
    records = [b"HFRepoMetaData".ljust(32, b"\0") + struct.pack("<QQ", 2, 0)]
    for sha256, spans in files:
        records.append(b"f" * 32 + struct.pack("<IIQ", 3 << 30, len(spans), 0))
        records += [raw(name) + struct.pack("<IIII", 0, size, begin, end)
                    for name, begin, end, size in spans]  # fmt: skip
        records += [b"v" * 48 for _ in spans]
        records.append(raw(sha256) + bytes(16))
    return b"".join([*records, b"\xff" * 32, bytes(16)])


def sha256(data: bytes) -> str:
    """The SHA-256 of bytes, as text."""
    return hashlib.sha256(data).hexdigest()
