"""Chunk list: the chunks of a file, as clients of Xet cut it, in order.

Lists lie beside the store by the SHA-256 of the file, ``chunks/ab/abcdef…``: 36 bytes for each
chunk, its hash and its size. They can be made again from the file at any time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from zoo.domain.limits import UPLOADED_FILE_BYTES
from zoo.store import Store
from zoo.store.capabilities import read_small

__all__ = ["Chunk", "clear_chunks", "keep_chunks", "read_chunks"]

RECORD = struct.Struct("<32sI")
LEAST_BYTES = 8 * 1024
"""Of a chunk, but for the last one."""
MOST_BYTES = RECORD.size * (UPLOADED_FILE_BYTES // LEAST_BYTES + 1)
FOLDER = "chunks"
KEPT = timedelta(days=30)


class Chunk(NamedTuple):
    """A chunk: its hash, and how many bytes it has."""

    hash: bytes
    size: int


def keep_chunks(store: Store, sha256: str, chunks: Iterable[Chunk]) -> None:
    """Keep the list of a file, unless one is there, or chunks are smaller than the protocol cuts
    them: who has sent the file may have cut it in any way.
    """
    listed = [*chunks]
    fine = all(chunk.size >= LEAST_BYTES for chunk in listed[:-1])
    if fine and not read_chunks(store, sha256, sum(chunk.size for chunk in listed)):
        store.backend.put(_name(sha256), [b"".join(RECORD.pack(*chunk) for chunk in listed)])


def read_chunks(store: Store, sha256: str, size: int) -> list[Chunk]:
    """The list of a file of ``size`` bytes; empty if none is kept, or it is damaged."""
    with suppress(FileNotFoundError, struct.error):
        data = read_small(store.backend, _name(sha256), MOST_BYTES)
        chunks = [Chunk(*record) for record in RECORD.iter_unpack(data)]
        if sum(chunk.size for chunk in chunks) == size:
            return chunks
    return []


def clear_chunks(store: Store) -> None:
    """Delete the lists that were made a month ago: those that are needed are made again."""
    until = store.now() - KEPT
    for file in store.backend.list(f"{FOLDER}/"):
        if file.at < until:
            store.backend.delete(file.name)


def _name(sha256: str) -> str:
    return f"{FOLDER}/{sha256[:2]}/{sha256}"
