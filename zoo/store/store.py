"""Store: objects, manifests and refs in a folder. It is a remote, too: both have one layout."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Self

from blake3 import blake3

from zoo.codec.header import check
from zoo.config import cores
from zoo.contracts import Folder, Kind
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.domain.stored import Stored
from zoo.errors import Corrupt, MissingObject, Unavailable, Unsupported, disk_errors
from zoo.store.atomic import (
    create_exclusive,
    make_folder,
    publish,
    publish_first,
    settle,
    staged,
    sync_folder,
)
from zoo.store.held import WORDS, name_of, read_manifest
from zoo.store.partial import download, forget
from zoo.store.refs import Refs
from zoo.store.uploads import UPLOADS, pruning, uploading

__all__ = ["MARKER", "Store"]

FORMAT = 1
MARKER = "zoo.json"
PIECE = 256 * 1024  # larger ones are mapped and unmapped by the allocator, one by one
FOLDERS = ("objects", "manifests", "refs", "tmp")


class Store:
    """A folder of immutable, content-addressed files. Implements `zoo.contracts.Maintained`.

    Attributes:
        root: The folder that holds ``zoo.json``.
        staging: Where files are written before they are renamed into place.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staging = root / "tmp"
        self._refs = Refs(root / "refs", self.staging)
        self._thread = threading.local()
        self._unsynced: set[Path] = set()
        self._syncing = threading.Lock()

    @classmethod
    def create(cls, root: Path) -> Self:
        """Make an empty store, or open the one that is there.

        Raises:
            Unsupported: A store of another format version is there.
        """
        with disk_errors(root):
            root.mkdir(parents=True, exist_ok=True)
            for name in FOLDERS:
                (root / name).mkdir(exist_ok=True)
        text = json.dumps({"format": FORMAT}) + "\n"
        with suppress(FileExistsError):
            create_exclusive(root / MARKER, text.encode(), staging=root / "tmp")
        return cls.open(root)

    @classmethod
    def open(cls, root: Path) -> Self:
        """Open the store in ``root``.

        Raises:
            Unavailable: There is none.
            Unsupported: It has another format version.
        """
        try:
            found = json.loads((root / MARKER).read_bytes())
            version = found["format"]
        except FileNotFoundError as error:
            reason = "is not a zoo store" if root.is_dir() else "does not exist"
            raise Unavailable(str(root), reason) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unavailable(str(root / MARKER), f"cannot be read: {error}") from error
        if version != FORMAT:
            raise Unsupported(f"{root} is a store of format {version}; this program reads {FORMAT}")
        return cls(root)

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Self:
        """Open a folder as a remote; ``create`` makes it where an empty or no folder is.

        Raises:
            Unavailable: It is not there and may not be created, or holds other things.
        """
        root = Path(location.removeprefix("folder://")).expanduser()
        if not create or (root / MARKER).exists():
            return cls.open(root)
        if not root.parent.is_dir():
            raise Unavailable(str(root), f"the folder {root.parent} does not exist")
        if root.exists() and not _is_empty(root) and not (root / MARKER).exists():
            raise Unavailable(str(root), "is not a zoo store and not an empty folder")
        return cls.create(root)

    def path(self, kind: Kind, digest: Digest) -> Path:
        """Where a digest's bytes are, or would be."""
        return self.root / name_of(kind, digest)

    def missing(self, kind: Kind, digests: Iterable[Digest]) -> set[Digest]:
        """Those of ``digests`` that are not here."""
        return {digest for digest in digests if not self.path(kind, digest).exists()}

    def size(self, kind: Kind, digest: Digest) -> int:
        """Size in bytes.

        Raises:
            MissingObject: Not here.
        """
        try:
            return self.path(kind, digest).stat().st_size
        except FileNotFoundError as error:
            raise MissingObject(WORDS[kind], str(digest), str(self.root)) from error

    def read(self, kind: Kind, digest: Digest, offset: int = 0) -> Iterator[bytes]:
        """The bytes from ``offset`` on, in pieces of at most 256 KiB.

        Raises:
            MissingObject: Not here.
        """
        try:
            with self.path(kind, digest).open("rb") as file:
                file.seek(offset)
                while piece := file.read(PIECE):
                    yield piece
        except FileNotFoundError as error:
            raise MissingObject(WORDS[kind], str(digest), str(self.root)) from error

    def view(self, kind: Kind, digest: Digest) -> memoryview:
        """The bytes as a memory map.

        Raises:
            MissingObject: Not here.
        """
        try:
            with self.path(kind, digest).open("rb") as file:
                if not os.fstat(file.fileno()).st_size:
                    return memoryview(b"")  # nothing cannot be mapped
                return memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
        except FileNotFoundError as error:
            raise MissingObject(WORDS[kind], str(digest), str(self.root)) from error

    def write(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> bool:
        """Keep bytes under their digest; False if they were here already.

        Raises:
            Corrupt: The bytes are not what ``digest`` says; nothing was kept.
            DiskFull: No space; nothing was kept.
        """
        if self.path(kind, digest).exists():
            return False
        # Of an object there are several encodings. The first stays: another writer may be coding
        # against it already, which it could not do if a delta took its place.
        return self._keep(kind, digest, pieces, publish_first)

    def replace(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> None:
        """Keep bytes under their digest, in the place of damaged ones if such are there.

        Raises:
            Corrupt: The bytes are not what ``digest`` (or the checksum) says; nothing was changed.
            DiskFull: No space; nothing was changed.
        """
        self._keep(kind, digest, pieces, publish)

    def receive(
        self, digest: Digest, read: Callable[[int], Iterator[bytes]], *, resume: bool = True
    ) -> bool:
        """Keep the object that ``read(offset)`` gives; False if it was here already.

        A large one that was cut off goes on where it ended, the next time, unless ``resume`` is
        off.

        Raises:
            Corrupt: The bytes are not what ``digest`` says; nothing was kept.
            DiskFull: No space; nothing was kept.
        """
        target = self.path("objects", digest)
        if target.exists():
            return False
        with download(self.staging, digest.hex, read, resume=resume) as got:
            if got.blake3 != digest.hex:
                raise Corrupt(f"object {digest}", str(digest), f"blake3:{got.blake3}")
            settle(got.file)
            published = publish_first(got.path, target)
        forget(self.staging, digest.hex)
        self._unsynced.add(target.parent)
        return published

    def _keep(
        self,
        kind: Kind,
        digest: Digest,
        pieces: Iterable[bytes | memoryview],
        publish: Callable[[Path, Path], bool],
    ) -> bool:
        if kind == "encoded":
            pieces = [b"".join(pieces)]
            check(pieces[0])
        hasher = blake3()
        with staged(self.staging) as (file, path):
            for piece in pieces:
                hasher.update(piece)
                file.write(piece)
            if kind != "encoded" and f"blake3:{hasher.hexdigest()}" != str(digest):
                raise Corrupt(
                    f"{WORDS[kind]} {digest}", str(digest), f"blake3:{hasher.hexdigest()}"
                )
            settle(file)
            if kind == "manifests":
                self._sync()  # what it names, before it
            published = publish(path, self.path(kind, digest))
        self._unsynced.add(self.path(kind, digest).parent)
        if kind == "manifests":
            self._sync()  # itself, before any name leads to it
            self._pruned(digest).unlink(missing_ok=True)
        return published

    def _sync(self) -> None:
        """Make the names given so far durable: once a folder, not once a file."""
        with self._syncing:  # whoever waits here may rely on what the other one syncs
            while self._unsynced:
                sync_folder(self._unsynced.pop())

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
        found = (self.root / "manifests" / digits[:2]).glob(f"{digits}*.json")
        return sorted(Digest("blake3", path.stem) for path in found if len(path.stem) == 64)

    @property
    def at_once(self) -> int:
        """How many files can be hashed at a time: one on each core."""
        return cores()

    def now(self) -> datetime:
        """The time on this machine."""
        return datetime.now(UTC)

    def files(self, folder: Folder) -> Iterator[Stored]:
        """All files below ``folder``, also those that are no part of a store."""
        for path in (self.root / folder).rglob("*"):
            try:
                found = path.lstat() if folder == "tmp" else path.stat()
            except FileNotFoundError:
                continue  # its writer has finished, or a prune deleted it, meanwhile
            if not stat.S_ISDIR(found.st_mode):
                at = datetime.fromtimestamp(found.st_mtime, UTC)
                yield Stored(path.relative_to(self.root).as_posix(), found.st_size, at)

    def start(self, kind: Kind, digest: Digest, length: int) -> bytes:
        """The first ``length`` bytes, or all if there are fewer.

        Raises:
            MissingObject: Not here.
        """
        try:
            with self.path(kind, digest).open("rb") as file:
                return file.read(length)
        except FileNotFoundError as error:
            raise MissingObject(WORDS[kind], str(digest), str(self.root)) from error

    def is_sound(self, kind: Kind, digest: Digest) -> bool:
        """Whether the bytes of an object or manifest are what its digest says.

        Raises:
            MissingObject: Not here.
        """
        try:
            return blake3().update_mmap(self.path(kind, digest)).hexdigest() == digest.hex
        except FileNotFoundError as error:
            raise MissingObject(WORDS[kind], str(digest), str(self.root)) from error

    def manifest(self, digest: Digest) -> Manifest:
        """Read and check a manifest.

        Raises:
            MissingObject: Not here.
            Corrupt: Its bytes are not what ``digest`` says.
        """
        return read_manifest(self, digest)

    def remove(self, name: str) -> None:
        """Delete the file of that name, if it is here, and scratch folders that get empty so."""
        path = self.root / name
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if self.staging not in folder.parents or folder == self.staging / UPLOADS:
                break
            with suppress(OSError):  # it is not empty
                folder.rmdir()

    def remember_pruned(self, digest: Digest) -> None:
        """Note that a manifest is deleted on purpose, so that verify does not miss it."""
        make_folder(self._pruned(digest).parent)
        with disk_errors(self.root):
            self._pruned(digest).touch()

    def was_pruned(self, digest: Digest) -> bool:
        """Whether a manifest was deleted on purpose and has not come back."""
        # The mark alone proves nothing: a prune may have been killed between it and the deletion.
        return self._pruned(digest).exists() and not self.path("manifests", digest).exists()

    def _pruned(self, digest: Digest) -> Path:
        return self.root / name_of("pruned", digest)

    def pruning(self) -> AbstractContextManager[None]:
        """Announce that things are about to be deleted, so that no upload begins meanwhile.

        Raises (on entry):
            Conflict: Somebody is writing, or pruning; nothing may be deleted.
        """
        return pruning(self.staging)

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
        with uploading(self.staging):
            self._thread.uploads = True
            try:
                yield
            finally:
                self._thread.uploads = False
                self._sync()

    def refs(self) -> Iterator[Reference]:
        """All names, sorted."""
        return iter(self._refs)

    def read_ref(self, ref: Reference) -> RefEntry | None:
        """The newest entry of ``ref``, or None."""
        return self._refs.newest(ref)

    def history(self, ref: Reference) -> tuple[RefEntry, ...]:
        """All entries of ``ref``, oldest first."""
        return self._refs.history(ref)

    def append_ref(self, ref: Reference, entry: RefEntry) -> None:
        """Create entry ``entry.number`` of ``ref``, exclusively.

        Raises:
            Conflict: That number exists, or the one before it does not.
        """
        self._refs.append(ref, entry)


def _is_empty(root: Path) -> bool:
    """Whether a folder holds nothing, or no more than a `Store.create` that was cut short."""
    if not root.is_dir() or any(path.name not in FOLDERS for path in root.iterdir()):
        return False
    return not any(path for name in FOLDERS[:-1] for path in (root / name).glob("*"))
