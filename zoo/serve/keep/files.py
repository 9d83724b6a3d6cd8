"""Files: ranges of a checkpoint's files, as ranges of the objects that hold them."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, PlainFile, WeightsFile
from zoo.domain.snapshot import Snapshot
from zoo.errors import Corrupt, MissingObject, NoCheckpoint
from zoo.serve.keep.recent import LruCache
from zoo.store import Store
from zoo.store.cached import CachedBackend
from zoo.store.encoded import absent, read_object
from zoo.store.files import object_ranges
from zoo.store.listing import name_of
from zoo.store.manifests import Document
from zoo.store.proof import files_of

__all__ = ["Files", "FileLayout", "Part"]

ROOM = 50_000
"""Files and tensors of documents that are kept in memory, and as many ranges of objects."""
PIECE = 256 * 1024
"""Bytes that are read at once."""


@dataclass(frozen=True, slots=True)
class Part:
    """A range of an object: ``count`` bytes from ``offset`` on."""

    store: Store
    object: Digest
    offset: int
    count: int

    @property
    def key(self) -> str:
        """The object's name in the store."""
        return name_of("objects", self.object)

    def open(self) -> BinaryIO | None:
        """The object as a file; None if it is not there as it is, but encoded."""
        try:
            return self.store.local.file(self.key)
        except FileNotFoundError:
            return None

    @property
    def is_at_hand(self) -> bool:
        """Whether it can be opened at once."""
        return self.store.is_at_hand(self.key)

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The bytes, however they are there."""
        file = self.open()
        if file is None:
            yield from self.read()
            return
        with file:
            at, end = self.offset, self.offset + self.count
            while at < end:
                piece = os.pread(file.fileno(), min(PIECE, end - at), at)
                if not piece:
                    raise Corrupt(f"object {self.object}", f"{end - at} bytes more", "its end")
                at += len(piece)
                yield piece

    def read(self) -> Iterator[bytes | memoryview]:
        """The bytes of an object that is there encoded, in pieces."""
        left, skipped = self.count, self.offset
        for piece in read_object(self.store, self.object, least=self.offset + self.count):
            part = memoryview(piece)[skipped:][:left]
            skipped = max(skipped - len(piece), 0)
            left -= len(part)
            if part:
                yield part
            if not left:
                return
        raise Corrupt(f"object {self.object}", f"{left} bytes more", "its end")


class FileLayout:
    """The ranges of objects that make up a file, and where each ends in it.

    Attributes:
        ends: Where each ends.
    """

    def __init__(self, store: Store, file: WeightsFile | PlainFile) -> None:
        self._store, self._ranges = store, [*object_ranges(file)]
        self.ends = [*accumulate(count for _, _, count in self._ranges)]

    def parts(self, begin: int, end: int) -> list[Part]:
        """The bytes ``begin`` to ``end`` of the file."""
        parts: list[Part] = []
        for at in range(bisect_right(self.ends, begin), len(self.ends)):
            (name, offset, count), last = self._ranges[at], self.ends[at]
            if last - count >= end:
                break
            skip = max(begin - (last - count), 0)
            length = min(last, end) - (last - count) - skip
            if length > 0:
                parts.append(Part(self._store, name, offset + skip, length))
        return parts


def _entries(document: Document) -> int:
    return 1 + len(document.files) + sum(len(each.tensors) for each in document.weights)


class Files:
    """The files of the checkpoints and snapshots in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._documents: LruCache[Digest, Document] = LruCache(ROOM, _entries)
        self._layouts: LruCache[tuple[Digest, str], FileLayout] = LruCache(
            ROOM, lambda layout: len(layout.ends)
        )

    def manifest(self, digest: Digest) -> Manifest:
        """A manifest, or that of the checkpoint of a snapshot. Raises as `document`.

        Raises:
            NoCheckpoint: It is a snapshot that has none.
        """
        document = self.document(digest)
        if isinstance(document, Manifest):
            return document
        if document.checkpoint is None:
            raise NoCheckpoint(digest.short)
        return self.manifest(document.checkpoint)

    def document(self, digest: Digest) -> Document:
        """A manifest or a snapshot, read once.

        Raises:
            MissingObject, Corrupt: It is not here, or damaged.
        """
        return self._documents.get(digest) or self._documents.put(
            digest, self._store.document(digest)
        )

    def file(self, digest: Digest, path: str) -> WeightsFile | PlainFile:
        """A file of a checkpoint or a snapshot, which is known to be there."""
        document = self.document(digest)
        if isinstance(document, Snapshot):
            return document.by_path[path].stored
        return next(file for file in files_of(document) if file.name == path)

    def parts(self, digest: Digest, path: str, begin: int, end: int) -> list[Part]:
        """The bytes ``begin`` to ``end`` of a file of a checkpoint.

        Raises:
            MissingObject: The checkpoint is not here.
        """
        layout = self._layouts.get((digest, path))
        if layout is None:
            layout = FileLayout(self._store, self.file(digest, path))
            self._layouts.put((digest, path), layout)
        return layout.parts(begin, end)

    def check(self, parts: Sequence[Part]) -> None:
        """See that all objects are here: an answer that has begun cannot say that one is not.

        Raises:
            MissingObject: One is not.
        """
        # What is kept here of a shared store can be read, whatever becomes of it there.
        needed = {part.object for part in parts}
        if isinstance(backend := self._store.backend, CachedBackend):
            kept = backend.holds({part.key for part in parts})
            needed -= {part.object for part in parts if part.key in kept}
        if lacking := absent(self._store, needed):
            raise MissingObject("object", str(min(lacking)), str(self._store))
