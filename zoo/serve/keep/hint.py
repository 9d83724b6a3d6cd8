"""Hint: a shard that tells a client of Xet which chunks are here, so that it need not send them.

A client that has none of a file asks whether anybody else has a chunk of it. The answer is a shard
(https://huggingface.co/docs/xet/shard) that lists xorbs with their chunks. These xorbs are virtual:
nobody has sent them, each stands for some chunks of a file that is here, and its name is random, so
that it is good for one upload.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from secrets import token_bytes

import msgspec

from zoo.domain.digest import Digest
from zoo.serve.keep.chunk_list import Chunk
from zoo.serve.keep.shard import END, RECORD, TAG
from zoo.serve.keep.xorb import CHUNKS, hash_text

__all__ = ["VirtualXorb", "hint", "virtual_xorbs"]

MAGIC = TAG + bytes.fromhex("00556967456a7b815783a5bdd95ccdd14aa9")
VERSION, FOOTER_VERSION, FOOTER = 2, 1, 200
XORB_BYTES = 60 << 20
VALID_SECONDS = 3600
NO_KEY = bytes(32)


class VirtualXorb(msgspec.Struct, frozen=True, kw_only=True):
    """``count`` chunks of a file, from the chunk ``first`` on.

    Attributes:
        name: What the xorb is called.
        manifest: The checkpoint or snapshot that has the file.
        sha256: Of the file.
        first: Its number in the file, counted from 0.
        count: How many chunks.
    """

    name: str
    manifest: str
    sha256: str
    first: int
    count: int


def virtual_xorbs(manifest: Digest, sha256: str, chunks: Sequence[Chunk]) -> Iterator[VirtualXorb]:
    """The chunks of a file, as xorbs."""
    ends, held = list[int](), 0
    for at, chunk in enumerate(chunks):
        if at - (ends[-1] if ends else 0) == CHUNKS or held + chunk.size > XORB_BYTES:
            ends.append(at)
            held = 0
        held += chunk.size
    for first, end in pairwise([0, *ends, len(chunks)]):
        name = hash_text(token_bytes(32))
        yield VirtualXorb(
            name=name, manifest=str(manifest), sha256=sha256, first=first, count=end - first
        )


def hint(xorbs: Sequence[tuple[VirtualXorb, Sequence[Chunk]]]) -> bytes:
    """A shard of xorbs, each with its own chunks."""
    records, named, chunk_rows, at = list[bytes](), list[bytes](), list[tuple[bytes, bytes]](), 0
    for xorb, chunks in sorted(xorbs, key=lambda each: _order(_raw(each[0].name))):
        name, total = _raw(xorb.name), sum(chunk.size for chunk in chunks)
        records.append(name + struct.pack("<4I", 0, len(chunks), total, total))
        named.append(name[:8] + struct.pack("<I", at))
        begin = 0
        for number, chunk in enumerate(chunks):
            records.append(chunk.hash + struct.pack("<4I", begin, chunk.size, 0, 0))
            chunk_rows.append((chunk.hash[:8], struct.pack("<2I", at, number)))
            begin += chunk.size
        at += 1 + len(chunks)
    chunk_rows.sort(key=lambda each: _order(each[0]))
    files = END + bytes(RECORD - len(END))
    body = [MAGIC, struct.pack("<2Q", VERSION, FOOTER), files, *records, files]
    tables = [b"".join(named), b"".join(key + place for key, place in chunk_rows)]
    return b"".join([*body, *tables, _footer(body, tables, len(named), len(chunk_rows))])


def _footer(body: list[bytes], tables: list[bytes], xorbs: int, chunks: int) -> bytes:
    """Where everything is. The table of files, which is empty, is before that of xorbs."""
    files_at, xorbs_at, named_at = RECORD, 2 * RECORD, sum(map(len, body))
    found_at = named_at + len(tables[0])
    now = int(time.time())
    places = (files_at, xorbs_at, named_at, 0, named_at, xorbs, found_at, chunks)
    head = struct.pack("<9Q", FOOTER_VERSION, *places)
    tail = struct.pack("<2Q", now, now + VALID_SECONDS) + bytes(6 * 8) + bytes(3 * 8)
    return head + NO_KEY + tail + struct.pack("<Q", found_at + len(tables[1]))


def _raw(name: str) -> bytes:
    return b"".join(int(name[at : at + 16], 16).to_bytes(8, "little") for at in (0, 16, 32, 48))


def _order(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "little")
