"""Xorbs: those of one upload, on the disk, until its files are put together.

They are nobody else's: a xorb says what it is called itself, and others might rely on it.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator
from secrets import token_hex
from typing import BinaryIO

from zoo.errors import Corrupt, disk_errors
from zoo.serve.keep.shard import ShardFile, Span
from zoo.serve.keep.xorb import chunk_hash, chunks_of, xorb_hash
from zoo.store.disk import Disk

__all__ = ["Xorbs"]

PIECE = 256 * 1024
NUMBER = 4


class Xorbs:
    """The xorbs of an upload, in a folder."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk, self._folder = disk, folder

    def has(self, name: str) -> bool:
        """Whether a xorb has arrived."""
        return self._disk.stat(f"{self._folder}/{name}") is not None

    def keep(self, name: str, pieces: Iterable[bytes]) -> None:
        """Keep a xorb: its chunks as they are in files, where each ends, and how many they are.

        Raises:
            Corrupt: It breaks the format, or is another one.
            DiskFull: No space left.
        """
        staged = f"{self._folder}/{token_hex(8)}"
        file, nodes, ends = self._disk.make(staged), [], array("I")
        try:
            with disk_errors(self._disk.root / self._folder), file:
                for chunk in chunks_of(pieces):
                    nodes.append((chunk_hash(chunk), len(chunk)))
                    file.write(chunk)
                    ends.append(file.tell())
                file.write(ends.tobytes() + array("I", [len(ends)]).tobytes())
            if (found := xorb_hash(nodes)) != name:
                raise Corrupt("the xorb", name, found)
            self._disk.rename(staged, f"{self._folder}/{name}")
        finally:
            self._disk.remove(staged)

    def read(self, file: ShardFile) -> Iterator[bytes]:
        """The bytes of a file.

        Raises:
            Corrupt: A span of it is in no xorb that has arrived.
        """
        name, opened = "", None
        try:
            for span in file.spans:
                if opened is None or name != span.xorb:
                    if opened:
                        opened.file.close()
                    name, opened = span.xorb, self._open(span.xorb)
                yield from opened.read(span)
        finally:
            if opened:
                opened.file.close()

    def _open(self, name: str) -> _Opened:
        try:
            return _Opened(self._disk.open(f"{self._folder}/{name}"))
        except FileNotFoundError:
            raise Corrupt("the shard", f"xorb {name}", "none of that name was sent") from None


class _Opened:
    """A xorb that is read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        size = os.fstat(file.fileno()).st_size
        (count,) = array("I", os.pread(file.fileno(), NUMBER, size - NUMBER))
        table = os.pread(file.fileno(), NUMBER * count, size - NUMBER * (count + 1))
        self._ends = array("I", table)

    def read(self, span: Span) -> Iterator[bytes]:
        """The bytes of some of its chunks."""
        if span.end > len(self._ends):
            raise Corrupt("the shard", f"chunk {span.end} of a xorb", f"{len(self._ends)}")
        at = self._ends[span.begin - 1] if span.begin else 0
        end = self._ends[span.end - 1]
        if end - at != span.size:
            raise Corrupt("the shard", f"a span of {span.size} bytes", f"{end - at}")
        while at < end:
            piece = os.pread(self.file.fileno(), min(PIECE, end - at), at)
            at += len(piece)
            yield piece
