"""Folder: a store's bytes as files, on this machine or on what it has mounted."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO, Self

from zoo.config import cores
from zoo.domain.stored import StoredFile
from zoo.errors import Forbidden, Unavailable, ZooError
from zoo.store.disk import DEEPEST, STAGING, Disk
from zoo.store.rights import forbidden, make_root

__all__ = ["FolderBackend"]

PIECE = 256 * 1024  # larger ones are mapped and unmapped by the allocator, one by one
KEPT = f"{STAGING}/uploads"
"""A scratch folder that stays when it is empty: somebody may be about to write there."""
EMPTIED = (f"{STAGING}/", "signatures/")
"""Folders below these are there for the files in them alone."""
SCRATCH_SECONDS = 24 * 3600
"""Another empty scratch folder may be in use for so long."""


class FolderBackend:
    """Implements `zoo.contracts.Backend`, and all that a disk can do better.

    Raises from all methods:
        NotAFile: There is a link, pipe or device where a file or folder should be.
        Forbidden: The rights of a file or folder do not allow it.
        DiskFull: No space left.

    Attributes:
        disk: The files.
    """

    def __init__(self, root: Path) -> None:
        self.disk = Disk(root)
        self._unsynced: set[str] = set()
        self._syncing = threading.Lock()

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Self:
        """Open a folder; ``create`` makes it, and no chain of folders.

        Raises:
            Unavailable: It is not there and may not be created.
            Forbidden: Its rights, or those of the folder above it, do not allow that.
        """
        root = Path(location.removeprefix("folder://")).expanduser()
        try:
            if create and not root.exists():
                if not root.parent.is_dir():
                    raise Unavailable(str(root), f"the folder {root.parent} does not exist")
                make_root(root)
            if not root.is_dir():
                reason = "is not a zoo store" if root.exists() else "does not exist"
                raise Unavailable(str(root), reason)
        except PermissionError as error:
            raise forbidden(root, "", error) from error
        return cls(root)

    def __str__(self) -> str:
        return str(self.disk.root)

    @property
    def at_once(self) -> int:
        """How many files can be hashed at a time: one on each core."""
        return cores()

    def stat(self, key: str) -> StoredFile | None:
        """Size and date of a file; None if there is none, or something else in its place."""
        status = self.disk.stat(key)
        return _stored(key, status) if status else None

    def present(self, keys: Collection[str]) -> dict[str, StoredFile]:
        """Those that are files."""
        return {key: _stored(key, status) for key, status in self.disk.holds(keys).items()}

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of a file, in pieces of at most 256 KiB.

        Raises:
            FileNotFoundError: There is none.
        """
        with self.disk.open(key) as file:
            file.seek(offset)
            left = length
            while piece := file.read(PIECE if left is None else min(left, PIECE)):
                left = None if left is None else left - len(piece)
                yield piece

    def file(self, key: str) -> BinaryIO:
        """What is under a key, as a file.

        Raises:
            FileNotFoundError: There is none.
        """
        return self.disk.open(key)

    def publish(self, name: str, key: str, *, over: bool = False) -> bool:
        """Give a file, whose bytes were checked, the name ``key``: unless there is one, or ``over``
        it; whether that was done.
        """
        is_new = (self.disk.rename if over else self.disk.rename_first)(name, key)
        self.note(key)
        return is_new

    def view(self, key: str) -> memoryview:
        """The bytes of a file as a memory map.

        Raises:
            FileNotFoundError: There is none.
        """
        with self.disk.open(key) as file:
            if not os.fstat(file.fileno()).st_size:
                return memoryview(b"")  # nothing cannot be mapped
            return memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))

    def put(self, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Write a read-only file, in the place of one that may be there."""
        self._publish(key, pieces, self.disk.rename)

    def create(self, key: str, data: bytes | memoryview) -> bool:
        """Write a read-only file unless there is one; whether it was written."""
        return self._publish(key, [data], self.disk.rename_first)

    def _publish(
        self,
        key: str,
        pieces: Iterable[bytes | memoryview],
        rename: Callable[[str, str], bool],
    ) -> bool:
        with self.disk.staged() as (file, name):
            for piece in pieces:
                file.write(piece)
            self.disk.fsync_file(file)
            is_new = rename(name, key)
        self.note(key)  # its bytes are durable, its name is with the next sync
        return is_new

    def touch(self, key: str, data: bytes) -> None:
        """Write a file that need not last. On a full disk it may stay empty."""
        self.disk.touch(key, data)

    def note(self, key: str) -> None:
        """Let the next `sync` make the name of a file durable."""
        self._unsynced.add(key.rpartition("/")[0])

    def sync(self) -> None:
        """Make the names given so far durable: once a folder, not once a file."""
        with self._syncing:  # whoever waits here may rely on what the other one syncs
            # Taken out first: a name that is made while its folder is synced puts that in again.
            while self._unsynced:
                self.disk.fsync_folder(self._unsynced.pop())

    def list(self, folder: str) -> Iterator[StoredFile]:
        """All below a folder that is no folder itself; links are listed, and not followed."""
        for name, status in self.disk.walk(folder.removesuffix("/")):
            yield _stored(name, status)

    def folders(self, folder: str) -> Collection[str]:
        """The folders directly in a folder; links are none."""
        return self.disk.folders(folder.removesuffix("/"))

    def readable(self, folder: str) -> tuple[Collection[StoredFile], dict[str, ZooError]]:
        """As `list`, and the folders that cannot be listed, with the reason."""
        unlisted: dict[str, ZooError] = {}
        files = self.disk.walk(folder.removesuffix("/"), unlisted)
        return [_stored(name, status) for name, status in files], unlisted

    def kinds(self, folder: str) -> dict[str, str]:
        """What lies directly in a folder, and what it is."""
        return self.disk.kinds(folder.removesuffix("/"))

    def delete(self, key: str) -> None:
        """Delete a file, if it is there, and folders of its own that get empty so."""
        self.disk.remove(key)
        folder = key.rpartition("/")[0]
        while folder.startswith(EMPTIED) and folder != KEPT:
            if not self.disk.remove_folder(folder):
                break
            folder = folder.rpartition("/")[0]

    def tidy(self) -> None:
        """Remove the empty scratch folders of processes that were killed."""
        self._tidy(STAGING, DEEPEST)

    def _tidy(self, folder: str, deeper: int) -> None:
        try:
            names = self.disk.folders(folder)
        except Forbidden:
            return  # somebody else's
        for name in names:
            inner = f"{folder}/{name}"
            if inner == KEPT or not deeper:
                continue
            self._tidy(inner, deeper - 1)
            if self.disk.age(inner) > SCRATCH_SECONDS:
                self.disk.remove_folder(inner)

    def now(self) -> datetime:
        """The time, by the clock of the file system, which may be another machine's."""
        try:
            return _at(self._mtime_of_nameless())
        except (AttributeError, OSError):  # only Linux has it, and not on every file system
            pass
        try:
            with self.disk.staged() as (file, _):
                return _at(os.fstat(file.fileno()).st_mtime)
        except (ZooError, OSError):  # nothing can be written there
            return datetime.now(UTC)

    def _mtime_of_nameless(self) -> float:
        """The date of a new file that has no name, so that no folder changes by it."""
        flags = os.O_TMPFILE | os.O_WRONLY | os.O_NOFOLLOW
        file = os.open(self.disk.root / STAGING, flags, 0o600)
        try:
            return os.fstat(file).st_mtime
        finally:
            os.close(file)


def _stored(key: str, status: os.stat_result) -> StoredFile:
    return StoredFile(key, status.st_size, _at(status.st_mtime))


def _at(mtime: float) -> datetime:
    try:
        return datetime.fromtimestamp(mtime, UTC)
    except (OverflowError, ValueError, OSError):  # some file systems keep any number
        return datetime.max.replace(tzinfo=UTC) if mtime > 0 else datetime.min.replace(tzinfo=UTC)
