"""Store: objects, manifests and refs in a folder. It is a remote, too: both have one layout."""

from __future__ import annotations

import json
import os
import re
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO, Self

from blake3 import blake3

from zoo.codec.header import check
from zoo.config import cores
from zoo.contracts import Folder, Kind
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.limits import MARKER_BYTES
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.domain.stored import Stored
from zoo.errors import (
    Corrupt,
    MissingObject,
    NotAFile,
    Unavailable,
    Unsupported,
    ZooError,
)
from zoo.store.disk import STAGING, Disk
from zoo.store.held import WORDS, name_of, read_manifest
from zoo.store.partial import download, forget
from zoo.store.refs import Refs
from zoo.store.regular import kind_of
from zoo.store.rights import forbidden, make_root
from zoo.store.uploads import UPLOADS, pruning, uploading

__all__ = ["MARKER", "Store"]

FORMAT = 1
MARKER = "zoo.json"
PIECE = 256 * 1024  # larger ones are mapped and unmapped by the allocator, one by one
FOLDERS = ("objects", "manifests", "refs", STAGING)
HEX = re.compile("[0-9a-f]{64}")
OWN = (*FOLDERS, "encoded", "pruned")


class Store:
    """A folder of immutable, content-addressed files. Implements `zoo.contracts.Maintained`.

    Attributes:
        root: The folder that holds ``zoo.json``.
        disk: Its files.
        staging: Where files are written before they are renamed into place.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.disk = Disk(root)
        self.staging = root / STAGING
        self._refs = Refs(self.disk)
        self._thread = threading.local()
        self._unsynced: set[str] = set()
        self._syncing = threading.Lock()

    @classmethod
    def create(cls, root: Path) -> Self:
        """Make an empty store, or open the one that is there.

        Raises:
            Unsupported: A store of another format version is there.
            Forbidden: The folder may not be written to.
        """
        make_root(root)
        disk = Disk(root)
        for name in FOLDERS:
            disk.make_folder(name)
        text = json.dumps({"format": FORMAT}) + "\n"
        with suppress(FileExistsError):
            disk.create(MARKER, text.encode())
        return cls.open(root)

    @classmethod
    def open(cls, root: Path) -> Self:
        """Open the store in ``root``.

        Raises:
            Unavailable: There is none.
            Unsupported: It has another format version.
            NotAFile: One of its folders is a link.
            Forbidden: It may not be read.
        """
        try:
            found = json.loads(Disk(root).read(MARKER, MARKER_BYTES))
            version = found["format"]
        except FileNotFoundError as error:
            reason = "is not a zoo store" if root.is_dir() else "does not exist"
            raise Unavailable(str(root), reason) from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError, Corrupt) as error:
            if not root.is_dir():
                raise Unavailable(str(root), "is not a zoo store") from error
            raise Unavailable(str(root / MARKER), f"cannot be read: {error}") from error
        if type(version) is not int or version != FORMAT:
            raise Unsupported(f"{root} is a store of format {version}; this program reads {FORMAT}")
        _refuse_links(root)
        return cls(root)

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Self:
        """Open a folder as a remote; ``create`` makes it where an empty or no folder is.

        Raises:
            Unavailable: It is not there and may not be created, or holds other things.
            Forbidden: Its rights, or those of the folder above it, do not allow that.
        """
        root = Path(location.removeprefix("folder://")).expanduser()
        try:
            if not create or (root / MARKER).exists():
                return cls.open(root)
            if not root.parent.is_dir():
                raise Unavailable(str(root), f"the folder {root.parent} does not exist")
            if root.exists() and not _is_empty(root) and not (root / MARKER).exists():
                raise Unavailable(str(root), "is not a zoo store and not an empty folder")
            return cls.create(root)
        except PermissionError as error:
            raise forbidden(root, "", error) from error

    def path(self, kind: Kind, digest: Digest) -> Path:
        """Where a digest's bytes are, or would be."""
        return self.root / name_of(kind, digest)

    def missing(self, kind: Kind, digests: Iterable[Digest]) -> set[Digest]:
        """Those of ``digests`` that are not here."""
        shards: dict[str, list[Digest]] = defaultdict(list)
        for digest in digests:
            shards[digest.hex[:2]].append(digest)
        missing: set[Digest] = set()
        for shard, wanted in shards.items():
            there = self.disk.holds(f"{kind}/{shard}", [_last(kind, digest) for digest in wanted])
            missing.update(digest for digest in wanted if _last(kind, digest) not in there)
        return missing

    def size(self, kind: Kind, digest: Digest) -> int:
        """Size in bytes.

        Raises:
            MissingObject: Not here.
        """
        with self._opened(kind, digest) as file:
            return os.fstat(file.fileno()).st_size

    def read(self, kind: Kind, digest: Digest, offset: int = 0) -> Iterator[bytes]:
        """The bytes from ``offset`` on, in pieces of at most 256 KiB.

        Raises:
            MissingObject: Not here.
        """
        with self._opened(kind, digest) as file:
            file.seek(offset)
            while piece := file.read(PIECE):
                yield piece

    def view(self, kind: Kind, digest: Digest) -> memoryview:
        """The bytes as a memory map.

        Raises:
            MissingObject: Not here.
        """
        with self._opened(kind, digest) as file:
            if not os.fstat(file.fileno()).st_size:
                return memoryview(b"")  # nothing cannot be mapped
            return memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))

    def write(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> bool:
        """Keep bytes under their digest; False if they were here already.

        Raises:
            Corrupt: The bytes are not what ``digest`` says; nothing was kept.
            DiskFull: No space; nothing was kept.
        """
        if self.disk.stat(name_of(kind, digest)):
            return False
        # Of an object there are several encodings. The first stays: another writer may be coding
        # against it already, which it could not do if a delta took its place.
        return self._keep(kind, digest, pieces, self.disk.rename_first)

    def replace(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> None:
        """Keep bytes under their digest, in the place of damaged ones if such are there.

        Raises:
            Corrupt: The bytes are not what ``digest`` (or the checksum) says; nothing was changed.
            DiskFull: No space; nothing was changed.
        """
        self._keep(kind, digest, pieces, self.disk.rename)

    def receive(
        self,
        digest: Digest,
        read: Callable[[int], Iterator[bytes]],
        *,
        limit: int,
        resume: bool = True,
    ) -> bool:
        """Keep the object that ``read(offset)`` gives; False if it was here already.

        A large one that was cut off goes on where it ended, the next time, unless ``resume`` is
        off.

        Raises:
            Corrupt: The bytes are not what ``digest`` says, or more than ``limit``; nothing was
                kept.
            DiskFull: No space; nothing was kept.
        """
        target = name_of("objects", digest)
        if self.disk.stat(target):
            return False
        with download(self.disk, digest.hex, read, limit=limit, resume=resume) as got:
            if got.digest != digest.hex:
                raise Corrupt(f"object {digest}", str(digest), f"blake3:{got.digest}")
            self.disk.settle(got.file)
            published = self.disk.rename_first(got.name, target)
        forget(self.disk, digest.hex)
        self._unsynced.add(target.rpartition("/")[0])
        return published

    def _keep(
        self,
        kind: Kind,
        digest: Digest,
        pieces: Iterable[bytes | memoryview],
        publish: Callable[[str, str], bool],
    ) -> bool:
        if kind == "encoded":
            pieces = [b"".join(pieces)]
            check(pieces[0])
        hasher = blake3()
        with self.disk.staged() as (file, name):
            for piece in pieces:
                hasher.update(piece)
                file.write(piece)
            if kind != "encoded" and f"blake3:{hasher.hexdigest()}" != str(digest):
                raise Corrupt(
                    f"{WORDS[kind]} {digest}", str(digest), f"blake3:{hasher.hexdigest()}"
                )
            self.disk.settle(file)
            if kind == "manifests":
                self._sync()  # what it names, before it
            published = publish(name, name_of(kind, digest))
        self._unsynced.add(name_of(kind, digest).rpartition("/")[0])
        if kind == "manifests":
            self._sync()  # itself, before any name leads to it
            self.disk.remove(name_of("pruned", digest))
        return published

    def _sync(self) -> None:
        """Make the names given so far durable: once a folder, not once a file."""
        with self._syncing:  # whoever waits here may rely on what the other one syncs
            while self._unsynced:
                self.disk.sync(self._unsynced.pop())

    def put(self, kind: Kind, data: bytes | memoryview) -> Digest:
        """Keep ``data`` under the digest of its bytes.

        Raises:
            DiskFull: No space; nothing was kept.
        """
        digest = Digest("blake3", blake3(data).hexdigest())
        self.write(kind, digest, [data])
        return digest

    def starting_with(self, digits: str) -> list[Digest]:
        """The manifests whose digest begins with these hex digits (two or more), sorted."""
        names = self.disk.names(f"manifests/{digits[:2]}")
        stems = [name.removesuffix(".json") for name in names if name.startswith(digits)]
        return [Digest("blake3", stem) for stem in stems if HEX.fullmatch(stem)]

    @property
    def at_once(self) -> int:
        """How many files can be hashed at a time: one on each core."""
        return cores()

    def now(self) -> datetime:
        """The time, by the clock of the file system, which may be another machine's."""
        try:
            with self.disk.staged() as (file, _):
                return _at(os.fstat(file.fileno()).st_mtime)
        except (ZooError, OSError):  # nothing can be written there
            return datetime.now(UTC)

    def files(self, folder: Folder) -> Iterator[Stored]:
        """All files below ``folder``, also those that are no part of a store."""
        for name, found in self.disk.walk(folder):
            yield Stored(name, found.st_size, _at(found.st_mtime))

    def readable_files(self, folder: Folder) -> tuple[list[Stored], dict[str, ZooError]]:
        """All files below ``folder`` that can be listed, and what cannot be, with the reason."""
        unlisted: dict[str, ZooError] = {}
        found = [
            Stored(name, known.st_size, _at(known.st_mtime))
            for name, known in self.disk.walk(folder, unlisted)
        ]
        return found, unlisted

    def start(self, kind: Kind, digest: Digest, length: int) -> bytes:
        """The first ``length`` bytes, or all if there are fewer.

        Raises:
            MissingObject: Not here.
        """
        with self._opened(kind, digest) as file:
            return file.read(length)

    def is_sound(self, kind: Kind, digest: Digest) -> bool:
        """Whether the bytes of an object or manifest are what its digest says.

        Raises:
            MissingObject: Not here.
        """
        return blake3(self.view(kind, digest)).hexdigest() == digest.hex

    def manifest(self, digest: Digest) -> Manifest:
        """Read and check a manifest.

        Raises:
            MissingObject: Not here.
            Corrupt: Its bytes are not what ``digest`` says.
        """
        return read_manifest(self, digest)

    def remove(self, name: str) -> None:
        """Delete the file of that name, if it is here, and scratch folders that get empty so."""
        self.disk.remove(name)
        folder = name.rpartition("/")[0]
        while folder.startswith(f"{STAGING}/") and folder != UPLOADS:
            if not self.disk.remove_folder(folder):
                break
            folder = folder.rpartition("/")[0]

    def remember_pruned(self, digest: Digest) -> None:
        """Note that a manifest is deleted on purpose, so that verify does not miss it."""
        self.disk.touch(name_of("pruned", digest))

    def was_pruned(self, digest: Digest) -> bool:
        """Whether a manifest was deleted on purpose and has not come back."""
        # The mark alone proves nothing: a prune may have been killed between it and the deletion.
        marked = self.disk.stat(name_of("pruned", digest))
        return bool(marked and not self.disk.stat(name_of("manifests", digest)))

    def pruning(self) -> AbstractContextManager[None]:
        """Announce that things are about to be deleted, so that no upload begins meanwhile.

        Raises (on entry):
            Conflict: Somebody is writing, or pruning; nothing may be deleted.
        """
        return pruning(self.disk)

    @contextmanager
    def upload(self) -> Iterator[None]:
        """Announce that things are being written, so that no prune runs meanwhile.

        Raises (on entry):
            Conflict: A prune is under way.
        """
        if getattr(self._thread, "uploads", False):
            # Within an upload nothing is pruned, and a prune that is about to give way to it must
            # not stop it here.
            yield
            return
        with uploading(self.disk):
            self._thread.uploads = True
            try:
                yield
            finally:
                self._thread.uploads = False
                self._sync()

    def refs(self) -> Iterator[Reference]:
        """All names, sorted."""
        return iter(self._refs)

    def readable_refs(self) -> tuple[list[Reference], dict[str, ZooError]]:
        """All names that can be listed, sorted, and the folders whose names cannot be."""
        return self._refs.readable()

    def read_ref(self, ref: Reference) -> RefEntry | None:
        """The newest entry of ``ref``, or None."""
        return self._refs.newest(ref)

    def history(self, ref: Reference) -> tuple[RefEntry, ...]:
        """All entries of ``ref``, oldest first."""
        return self._refs.history(ref)

    def check_new(self, ref: Reference) -> None:
        """See that ``ref`` is here, or can be made.

        Raises:
            InvalidReference: Not every system can hold it beside those that are here.
        """
        self._refs.check_new(ref)

    def append_ref(self, ref: Reference, entry: RefEntry) -> None:
        """Create entry ``entry.number`` of ``ref``, exclusively.

        Raises:
            Conflict: That number exists, or the one before it does not.
        """
        self._refs.append(ref, entry)

    def _opened(self, kind: Kind, digest: Digest) -> BinaryIO:
        try:
            return self.disk.open(name_of(kind, digest))
        except FileNotFoundError as error:
            raise MissingObject(WORDS[kind], str(digest), str(self.root)) from error


def _last(kind: Kind, digest: Digest) -> str:
    return name_of(kind, digest).rpartition("/")[2]


def _at(mtime: float) -> datetime:
    try:
        return datetime.fromtimestamp(mtime, UTC)
    except (OverflowError, ValueError, OSError):  # some file systems keep any number
        return datetime.max.replace(tzinfo=UTC) if mtime > 0 else datetime.min.replace(tzinfo=UTC)


def _refuse_links(root: Path) -> None:
    """Refuse a store whose own folders lie elsewhere: another store's, or what is no store's."""
    for name in OWN:
        with suppress(FileNotFoundError):
            mode = (root / name).lstat().st_mode
            if not stat.S_ISDIR(mode):
                raise NotAFile(str(root / name), "a folder", kind_of(mode))


def _is_empty(root: Path) -> bool:
    """Whether a folder holds nothing, or no more than a `Store.create` that was cut short."""
    if not root.is_dir() or any(path.name not in FOLDERS for path in root.iterdir()):
        return False
    return not any(path for name in FOLDERS[:-1] for path in (root / name).glob("*"))
