"""Shard: of which chunks files are made, as clients of Xet say it at the end of an upload.

After a header of 48 bytes comes a record of 48 bytes for each file, then one for each of its spans,
one more for each span to check it by, and one with its SHA-256, as its flags say. A record that
begins with 32 bytes 255 ends the files; what follows only clients need.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from zoo.domain.limits import SNAPSHOT_FILES
from zoo.errors import Corrupt
from zoo.serve.keep.xorb import hash_text

__all__ = ["SHARD_BYTES", "ShardFile", "ChunkRange", "shard_files"]

SHARD_BYTES = 64 << 20
TAG = b"HFRepoMetaData"
RECORD = 48
NUMBERS = struct.Struct("<4I")
CHECKED, WITH_SHA256 = 1 << 31, 1 << 30
END = b"\xff" * 32


@dataclass(frozen=True, slots=True)
class ChunkRange:
    """Chunks of a xorb that follow each other: ``begin`` to ``end``, of ``size`` bytes."""

    xorb: str
    begin: int
    end: int
    size: int


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A file: its SHA-256, its bytes, and the records of its spans, which are read when needed."""

    sha256: str
    size: int
    _records: memoryview

    @property
    def spans(self) -> Iterator[ChunkRange]:
        """The spans, in order."""
        return _spans(self._records)


def shard_files(data: memoryview) -> Iterator[ShardFile]:
    """The files that a shard tells of.

    Raises:
        Corrupt: It breaks the format, or does not say the SHA-256 of one.
    """
    if len(data) < RECORD or bytes(data[: len(TAG)]) != TAG:
        raise _bad("no header")
    at, files = RECORD, 0
    while True:
        record, at = _taken(data, at, 1)
        if bytes(record[:32]) == END:
            return
        files += 1
        if files > SNAPSHOT_FILES:
            raise _bad(f"more than {SNAPSHOT_FILES:,} files")
        flags, count, _, _ = NUMBERS.unpack(record[32:])
        records, at = _taken(data, at, count)
        at += RECORD * count if flags & CHECKED else 0
        if not flags & WITH_SHA256:
            raise _bad("a file without its SHA-256")
        last, at = _taken(data, at, 1)
        size = sum(span.size for span in _spans(records))
        yield ShardFile(hash_text(bytes(last[:32])), size, records)


def _taken(data: memoryview, at: int, count: int) -> tuple[memoryview, int]:
    end = at + RECORD * count
    if end > len(data):
        raise _bad("it ends within its records")
    return data[at:end], end


def _spans(records: memoryview) -> Iterator[ChunkRange]:
    for at in range(0, len(records), RECORD):
        record = records[at : at + RECORD]
        _, size, begin, end = NUMBERS.unpack(record[32:])
        if begin >= end:
            raise _bad("a span without chunks")
        yield ChunkRange(hash_text(bytes(record[:32])), begin, end, size)


def _bad(why: str) -> Corrupt:
    return Corrupt("the shard", "files", why)
