"""Chunk list: the chunks of a file, as clients of Xet cut it, in order.

Lists lie beside the store by the SHA-256 of the file, ``chunks/ab/abcdef…``: 36 bytes for each
chunk, its hash and its size. They can be made again from the file at any time.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from zoo.domain.limits import UPLOADED_FILE_BYTES
from zoo.store.disk import Disk

__all__ = ["Chunk", "clear_chunks", "keep_chunks", "read_chunks"]

RECORD = struct.Struct("<32sI")
LEAST_BYTES = 8 * 1024
"""Of a chunk, but for the last one."""
MOST_BYTES = RECORD.size * (UPLOADED_FILE_BYTES // LEAST_BYTES + 1)
FOLDER = "chunks"
KEPT_SECONDS = 30 * 86400


class Chunk(NamedTuple):
    """A chunk: its hash, and how many bytes it has."""

    hash: bytes
    size: int


def keep_chunks(disk: Disk, sha256: str, chunks: Iterable[Chunk]) -> None:
    """Keep the list of a file, unless one is there, or chunks are smaller than the protocol cuts
    them: who has sent the file may have cut it in any way.
    """
    listed = [*chunks]
    fine = all(chunk.size >= LEAST_BYTES for chunk in listed[:-1])
    if fine and not read_chunks(disk, sha256, sum(chunk.size for chunk in listed)):
        disk.put(_name(sha256), b"".join(RECORD.pack(*chunk) for chunk in listed))


def read_chunks(disk: Disk, sha256: str, size: int) -> list[Chunk]:
    """The list of a file of ``size`` bytes; empty if none is kept, or it is damaged."""
    with suppress(FileNotFoundError, struct.error):
        data = disk.read(_name(sha256), MOST_BYTES)
        chunks = [Chunk(*record) for record in RECORD.iter_unpack(data)]
        if sum(chunk.size for chunk in chunks) == size:
            return chunks
    return []


def clear_chunks(disk: Disk) -> None:
    """Delete the lists that were made a month ago: those that are needed are made again."""
    until = time.time() - KEPT_SECONDS
    for folder in disk.folders(FOLDER):
        for name in disk.names(f"{FOLDER}/{folder}"):
            status = disk.stat(f"{FOLDER}/{folder}/{name}")
            if status and status.st_mtime < until:
                disk.remove(f"{FOLDER}/{folder}/{name}")


def _name(sha256: str) -> str:
    return f"{FOLDER}/{sha256[:2]}/{sha256}"
