"""Cached: a shared store, such as a bucket, with what this machine reads of it on its disk.

Several machines serve one zoo so. All that any of them must know lies in the shared store. On the
disk is what was read of it (`zoo.store.kept`), and what is being written. Objects and manifests
come whole and are hashed before anybody gets a byte of them; what is there, and what names are at,
is told as it was at most `SEEN_SECONDS` ago, and within an `upload` as it is since that began.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from mmap import ACCESS_READ, mmap
from os import dup, fdopen, fstat, pread
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Self

from blake3 import blake3

from zoo.contracts import Backend
from zoo.domain.limits import OBJECT_BYTES, UPLOADED_FILE_BYTES
from zoo.domain.stored import StoredFile
from zoo.errors import Corrupt
from zoo.store.capabilities import at_once, folders, present
from zoo.store.disk import STAGING, Disk
from zoo.store.kept import DiskCache, digest_in
from zoo.store.names_seen import ALL, NamesSeen, OneAtATime

__all__ = ["CachedBackend"]

PIECE = 256 * 1024
CLOCK_SECONDS = 300.0
"""So long the clock of the shared store is trusted to run as this machine's does."""
CONTENT = ("objects/", "encoded/", "manifests/", "encoded-manifests/")
SIGNS = f"{STAGING}/"
MOST_BYTES = max(OBJECT_BYTES, UPLOADED_FILE_BYTES)
ROOM = 50_000
"""Files that are known to be there."""


class CachedBackend:
    """Implements `zoo.contracts.Backend`, `SupportsBatches` and `LocalDisk`.

    Attributes:
        disk: This machine's files.
        shared: What all machines share.
        at_once: Requests that it serves well at a time.
    """

    def __init__(self, root: Path, shared: Backend, room: int) -> None:
        self.disk, self.shared = Disk(root), shared
        self.at_once = at_once(shared)
        self._kept, self._names = DiskCache(self.disk, room), NamesSeen(shared)
        self._there: dict[str, tuple[float, StoredFile]] = {}
        self._one, self._asking = OneAtATime(), Lock()
        self._clock: tuple[float, datetime] | None = None

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Self:
        """Not used: `zoo.machine` makes them."""
        raise NotImplementedError

    def __str__(self) -> str:
        return str(self.shared)

    def look_again(self) -> None:
        """Tell nothing more that was seen before: somebody else may have changed it."""
        self._names.look_again()

    def count(self) -> int:
        """Count what is kept here again; the bytes."""
        return self._kept.count()

    def holds(self, keys: Collection[str]) -> set[str]:
        """Those of some keys that can be read without the shared store."""
        return self._kept.holds(keys)

    def stat(self, key: str) -> StoredFile | None:
        """See `Backend.stat`."""
        if key.startswith(ALL):
            return self._names.stat(key)
        if known := self._seen(key):
            return known
        began, stored = time.monotonic(), self.shared.stat(key)
        if stored:
            self._see(began, [stored])
        return stored

    def present(self, keys: Collection[str]) -> Mapping[str, StoredFile]:
        """See `SupportsBatches.present`."""
        files = {key: stored for key in keys if (stored := self._seen(key))}
        names = [key for key in keys if key.startswith(ALL)]
        files |= {key: stored for key in names if (stored := self._names.stat(key))}
        left = [key for key in keys if key not in files and not key.startswith(ALL)]
        if left:
            began, there = time.monotonic(), present(self.shared, left)
            self._see(began, there.values())
            files |= there
        return files

    def _seen(self, key: str) -> StoredFile | None:
        asked, stored = self._there.get(key, (-1.0, None))
        return stored if asked >= self._names.since() else None

    def _see(self, began: float, files: Iterable[StoredFile]) -> None:
        """Note what is there: what has a digest as its name stays until a prune."""
        if len(self._there) >= ROOM:
            self._there.clear()
        self._there.update(
            {each.name: (began, each) for each in files if each.name.startswith(CONTENT)}
        )

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `Backend.open`."""
        if not (digest_in(key) or key.startswith(ALL)):
            return self.shared.open(key, offset, length)
        return self._pieces(key, offset, length)

    def _pieces(self, key: str, offset: int, length: int | None) -> Iterator[bytes]:
        if key.startswith(ALL):
            data = self._names.read(key)[offset:]
            yield data if length is None else data[:length]
            return
        with self.file(key) as file:
            end = fstat(file.fileno()).st_size
            end = end if length is None else min(end, offset + length)
            while offset < end:
                yield (piece := pread(file.fileno(), min(PIECE, end - offset), offset))
                offset += len(piece)

    def file(self, key: str) -> BinaryIO:
        """What is under a key as a file of this machine's.

        Raises:
            FileNotFoundError: There is none.
            Corrupt: It is not what its digest says.
        """
        if file := self._kept.open(key):
            return file
        with self._one.of(key):  # of many that want it one fetches it
            return self._kept.open(key) or self._fetched(key)

    def _fetched(self, key: str) -> BinaryIO:
        with self.disk.staged() as (file, name):
            hasher, digest = blake3(), digest_in(key)
            for piece in [self._names.read(key)] if key.startswith(ALL) else self.shared.open(key):
                if file.tell() + len(piece) > MOST_BYTES:
                    raise Corrupt(f"{self.shared}/{key}", f"at most {MOST_BYTES} bytes", "more")
                hasher.update(piece)
                file.write(piece)
            file.flush()
            if digest and hasher.hexdigest() != digest:
                actual = f"blake3:{hasher.hexdigest()}"
                raise Corrupt(f"{self.shared}/{key}", f"blake3:{digest}", actual)
            self._kept.take(name, key, file)
            file.seek(0)  # which the copy shares
            return fdopen(dup(file.fileno()), "rb")

    def view(self, key: str) -> memoryview:
        """See `LocalDisk.view`."""
        with self.file(key) as file:
            size = fstat(file.fileno()).st_size
            return memoryview(mmap(file.fileno(), size, access=ACCESS_READ) if size else b"")

    def publish(self, name: str, key: str, *, over: bool = False) -> bool:  # noqa: ARG002
        """Send a file of this machine's, whose bytes were checked, to where it is there for all
        under ``key``; what is there already is the same. True.
        """
        with self.disk.open(name) as file:
            self.shared.put(key, iter(lambda: file.read(PIECE), b""))
            self._kept.forget(key)
            self._kept.take(name, key, file)
            size = fstat(file.fileno()).st_size
        self._see(time.monotonic(), [StoredFile(key, size, self.now())])
        return True

    def put(self, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        """See `Backend.put`."""
        self.shared.put(key, pieces)
        self._kept.forget(key)
        self._changed(key)

    def create(self, key: str, data: bytes | memoryview) -> bool:
        """See `Backend.create`."""
        try:
            return self.shared.create(key, data)
        finally:
            self._changed(key)

    def list(self, folder: str) -> Iterator[StoredFile]:
        """See `Backend.list`."""
        if folder.startswith(ALL):
            return self._names.list(folder)
        if not folder.startswith(SIGNS):
            return self.shared.list(folder)
        # Who lists signs looks for a prune: one that has just ended deleted until then.
        signs = [*self.shared.list(folder)]
        self.look_again()
        return iter(signs)

    def folders(self, folder: str) -> Collection[str]:
        """See `SupportsBatches.folders`."""
        if folder.startswith(ALL):
            return self._names.folders(folder)
        return folders(self.shared, folder)

    def delete(self, key: str) -> None:
        """See `Backend.delete`."""
        self.shared.delete(key)
        self._kept.forget(key)
        self._changed(key)

    def _changed(self, key: str) -> None:
        self._there.pop(key, None)
        # A sign of an upload or a prune that is set: what others deleted before is gone by now.
        if key.startswith((ALL, SIGNS)):
            self.look_again()

    def now(self) -> datetime:
        """The time of the shared store, which is asked for it now and then."""
        with self._asking:
            if self._clock is None or time.monotonic() - self._clock[0] > CLOCK_SECONDS:
                self._clock = time.monotonic(), self.shared.now().astimezone(UTC)
            asked, at = self._clock
        return at + timedelta(seconds=time.monotonic() - asked)
