"""Store: objects, manifests and refs over any backend. A zoo's own and a remote have one layout."""

from __future__ import annotations

import json
import re
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from functools import lru_cache, partial
from mmap import ACCESS_READ, mmap
from pathlib import Path
from shlex import quote
from typing import Self

from blake3 import blake3

from zoo.codec.header import check
from zoo.contracts import Backend, Folder, Kind, LocalDisk, SupportsPermissions
from zoo.domain.digest import Digest
from zoo.domain.limits import MARKER_BYTES, OBJECT_BYTES
from zoo.domain.manifest import Manifest
from zoo.domain.stored import StoredFile
from zoo.errors import (
    INDEXES,
    Corrupt,
    Forbidden,
    MissingObject,
    NotAFile,
    Unavailable,
    Unsupported,
    ZooError,
    disk_errors,
)
from zoo.store.cached import CachedBackend
from zoo.store.capabilities import at_once, is_served, present, read_small, sync, touch
from zoo.store.disk import FOLDER_KIND, STAGING, Disk
from zoo.store.encoded import Pieces
from zoo.store.folder import FolderBackend
from zoo.store.listing import KIND_NAMES, name_of
from zoo.store.manifests import FORMS, Document, read_base, read_document, read_manifest
from zoo.store.partial import download, forget
from zoo.store.refs import MARKER, Refs
from zoo.store.rights import make_root
from zoo.store.uploads import pruning, uploading

__all__ = ["Store"]

FORMAT = 1
ENCODED = 2
"""Manifests are encoded, too: earlier programs would miss them. Anything else is as in format 1."""
BASES = 8
"""Manifests that others are encoded against are kept in memory, so many at most."""
FOLDERS = ("objects", "manifests", "refs", STAGING)
HEX = re.compile("[0-9a-f]{64}")
OWN = (*FOLDERS, "encoded", "encoded-manifests", "pruned", "signatures")


class Store(Refs):
    """Immutable, content-addressed bytes, and names that move, over a backend."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._thread = threading.local()
        self.base = lru_cache(BASES)(partial(read_base, self))
        """A manifest that others are encoded against (`zoo.store.manifests.read_base`)."""

    @classmethod
    def create(cls, root: Path) -> Self:
        """Make an empty store in a folder, or open the one that is there.

        Raises:
            Unsupported: A store of another format version is there.
            Forbidden: The folder may not be written to.
        """
        make_root(root)
        cls(FolderBackend(root))._make()
        return cls.open(root)

    @classmethod
    def open(cls, root: Path) -> Self:
        """Open the store in the folder ``root``; otherwise as `connect`."""
        return cls.connect(FolderBackend.connect(str(root), create=False), create=False)

    @classmethod
    def connect(cls, backend: Backend, *, create: bool) -> Self:
        """Open the store that a backend holds; ``create`` makes it where nothing is.

        Raises:
            Unavailable: There is none and it may not be created, or other things are there.
            Unsupported: It has another format version, or names are not safe in such a place.
            NotAFile: One of its folders is a link.
            Forbidden: It may not be read, or made.
        """
        store = cls(backend)
        # The marker alone says that this is a store: an empty folder may be an unmounted disk.
        if store._format() is None:
            if isinstance(backend, SupportsPermissions) and not create:
                raise _no_store(str(backend), empty=not backend.kinds(""))
            # Listing also tells a bucket that does not exist from one without a store.
            others = (file for file in backend.list("") if not file.name.startswith(f"{STAGING}/"))
            other = next(others, None)
            if not create:
                raise _no_store(str(backend), empty=other is None)
            # Whoever makes the same store at the same time may have begun to fill it.
            if other is not None and store._format() is None:
                what = "an empty folder" if store.is_near else "empty"
                raise Unavailable(str(backend), f"is not a zoo store and not {what}")
            store._make()
            store._format()  # somebody else's marker, of another format, may have been faster
        if isinstance(backend, SupportsPermissions):
            _refuse_links(backend)
        return store

    def _format(self) -> int | None:
        """What its marker says; None if there is none."""
        try:
            version: object = json.loads(read_small(self.backend, MARKER, MARKER_BYTES))["format"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, Corrupt) as error:
            raise Unavailable(f"{self.backend}/{MARKER}", f"cannot be read: {error}") from error
        if type(version) is not int or version not in (FORMAT, ENCODED):
            known = f"this program reads {FORMAT} and {ENCODED}"
            raise Unsupported(f"{self.backend} is a store of format {version}; {known}")
        return version

    def _make(self) -> None:
        if isinstance(self.backend, FolderBackend):
            for name in FOLDERS:
                self.disk.make_folder(name)
        # Last, and never over another one: from here on it is a store, of the format that it says.
        self.backend.create(MARKER, _marker(FORMAT))
        sync(self.backend)

    def admit_encoded_manifests(self) -> bool:
        """Have earlier programs refuse this store, as they would miss manifests that are encoded;
        False if it is a zoo's own, which somebody else's push must not close to its owner, or its
        marker may not be replaced: it is another user's, in a sticky folder.
        """
        if is_served(self.backend):
            return True
        if self.is_zoo:
            return False
        version = self._format()
        if version is None:  # the disk was unmounted meanwhile
            raise Unavailable(str(self.backend), "is not a zoo store any more")
        if version != ENCODED:
            try:
                self.backend.put(MARKER, [_marker(ENCODED)])
            except Forbidden:
                return False
            sync(self.backend)
        return True

    def __str__(self) -> str:
        return str(self.backend)

    @property
    def is_near(self) -> bool:
        """Whether reading all of it costs no more than reading a disk."""
        return isinstance(self.backend, LocalDisk)

    @property
    def is_zoo(self) -> bool:
        """Whether it is the store of a zoo, which has an index, rather than a remote."""
        if self.is_near:
            return any(self.backend.stat(name) for name in INDEXES)
        return is_served(self.backend)

    @property
    def local(self) -> FolderBackend | CachedBackend:
        """The backend of a store that is in a folder, or is shared and has one on this machine."""
        assert isinstance(self.backend, FolderBackend | CachedBackend), self.backend
        return self.backend

    @property
    def disk(self) -> Disk:
        """The files on this machine of a store that has some."""
        return self.local.disk

    @property
    def root(self) -> Path:
        """The folder of a store that is in one."""
        return self.disk.root

    @property
    def staging(self) -> Path:
        """Where files of a store that is in a folder are written before they have their names."""
        return self.root / STAGING

    def path(self, kind: Kind, digest: Digest) -> Path:
        """Where a digest's bytes are, or would be, in a store that is in a folder."""
        return self.root / name_of(kind, digest)

    def is_at_hand(self, key: str) -> bool:
        """Whether what is under a key is a file here, and need not come from another machine."""
        return not isinstance(self.backend, CachedBackend) or bool(self.backend.holds([key]))

    def missing(self, kind: Kind, digests: Iterable[Digest]) -> set[Digest]:
        """Those of ``digests`` that are not here."""
        names = {name_of(kind, digest): digest for digest in digests}
        there = present(self.backend, names.keys())
        return {digest for name, digest in names.items() if name not in there}

    def size(self, kind: Kind, digest: Digest) -> int:
        """Size in bytes.

        Raises:
            MissingObject: Not here.
        """
        stored = self.backend.stat(name_of(kind, digest))
        if stored is None:
            raise self._lacks(kind, digest)
        return stored.bytes

    def read(
        self, kind: Kind, digest: Digest, offset: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        """The bytes from ``offset`` on, at most ``length`` of them, in pieces. Not checked: whoever
        keeps them hashes them.

        Raises:
            MissingObject: Not here.
        """
        try:
            yield from self.backend.open(name_of(kind, digest), offset, length)
        except FileNotFoundError as error:
            raise self._lacks(kind, digest) from error

    def view(self, kind: Kind, digest: Digest) -> memoryview:
        """The bytes in whole, in no memory of this process's own: a map of the file, or of a copy
        in a temporary one.

        Raises:
            MissingObject: Not here.
            Corrupt: There are more than an object may have.
        """
        if isinstance(self.backend, LocalDisk):
            try:
                return self.backend.view(name_of(kind, digest))
            except FileNotFoundError as error:
                raise self._lacks(kind, digest) from error
        with tempfile.TemporaryFile() as file, disk_errors(tempfile.gettempdir()):
            for piece in self.read(kind, digest):
                file.write(piece)
                if file.tell() > OBJECT_BYTES:  # a remote can send without end
                    most = f"at most {OBJECT_BYTES} bytes"
                    raise Corrupt(f"{KIND_NAMES[kind]} {digest}", most, "more")
            file.flush()
            size = file.tell()
            return memoryview(mmap(file.fileno(), size, access=ACCESS_READ) if size else b"")

    def write(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> bool:
        """Keep bytes under their digest; False if they were here already.

        An encoded object is kept under the digest that it has when decoded; what is checked here is
        its own checksum.

        Raises:
            Corrupt: The bytes are not what ``digest`` (or the checksum) says; nothing was kept.
            DiskFull: No space; nothing was kept.
        """
        if self.backend.stat(name_of(kind, digest)):
            return False  # the same bytes: what a digest names never changes
        if kind == "encoded":
            # Of an object there are several encodings. The first stays: another writer may be
            # coding against it already, which it could not do if a delta took its place.
            return self.backend.create(name_of(kind, digest), _encoded(pieces))
        if kind == "encoded-manifests":
            sync(self.backend)  # what it names, before it: else a crash could leave it alone
            created = self.backend.create(name_of(kind, digest), _encoded(pieces))
            self._manifest_kept(digest)
            return created
        try:
            self.replace(kind, digest, pieces)
        except Forbidden:
            # In a sticky folder nobody may take the place of what somebody else has just written.
            if not self.backend.stat(name_of(kind, digest)):
                raise
            return False
        return True

    def replace(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> None:
        """Keep bytes under their digest, in the place of damaged ones if such are there.

        Raises:
            Corrupt: The bytes are not what ``digest`` (or the checksum) says; nothing was changed.
            DiskFull: No space; nothing was changed.
        """
        if kind in FORMS:
            sync(self.backend)  # what it names, before it: else a crash could leave it alone
        if kind in ("encoded", "encoded-manifests"):
            self.backend.put(name_of(kind, digest), [_encoded(pieces)])
        else:
            checked = partial(_checked, kind, digest, pieces)
            # What can be taken once only is not asked for again by a backend that tries again.
            once = isinstance(pieces, Iterator)
            self.backend.put(name_of(kind, digest), checked() if once else Pieces(checked))
        if kind in FORMS:
            self._manifest_kept(digest)

    def set_aside(self, kind: Kind, digest: Digest) -> None:
        """Move a folder that lies in the place of a file out of its way, if there is one."""
        if isinstance(self.backend, FolderBackend):  # elsewhere keys hide no keys
            self.disk.set_aside(name_of(kind, digest))

    def _manifest_kept(self, manifest: Digest) -> None:
        sync(self.backend)  # itself, before any name leads to it
        if is_served(self.backend):
            return
        mark = name_of("pruned", manifest)
        if self.backend.stat(mark):
            # One that stays hides nothing while the manifest is here.
            with suppress(Unavailable, Unsupported):
                self.backend.delete(mark)

    def receive(
        self,
        digest: Digest,
        read: Callable[[int], Iterator[bytes]],
        *,
        limit: int,
        resume: bool = True,
    ) -> bool:
        """Keep the object that ``read(offset)`` gives in a store that is in a folder; False if it
        was here already.

        A large one that was cut off is resumed the next time, unless ``resume`` is
        off.

        Raises:
            Corrupt: The bytes are not what ``digest`` says, or more than ``limit``; nothing was
                kept.
            DiskFull: No space; nothing was kept.
        """
        target = name_of("objects", digest)
        if self.backend.stat(target):
            return False
        with download(self.disk, digest.hex, read, limit=limit, resume=resume) as got:
            if got.digest != digest.hex:
                raise Corrupt(f"object {digest}", str(digest), f"blake3:{got.digest}")
            self.disk.fsync_file(got.file)
            # Not over one that another pull has published meanwhile: somebody may have mapped it.
            published = self.local.publish(got.name, target)
        forget(self.disk, digest.hex)  # only now: until then a rerun begins with what has arrived
        return published

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
        files = [file for form in FORMS for file in self.backend.list(f"{form}/{digits[:2]}/")]
        stems = {file.name.rpartition("/")[2].removesuffix(".json") for file in files}
        matching = sorted(stem for stem in stems if stem.startswith(digits))
        return [Digest("blake3", stem) for stem in matching if HEX.fullmatch(stem)]

    @property
    def at_once(self) -> int:
        """How many requests it serves well at a time."""
        return at_once(self.backend)

    def now(self) -> datetime:
        """The time, by the clock that dates the files; has a time zone."""
        return self.backend.now()

    def files(self, folder: Folder) -> Iterator[StoredFile]:
        """All files below ``folder``, also those that are no part of a store, in any order."""
        return self.backend.list(f"{folder}/")

    def readable_files(self, folder: Folder) -> tuple[Collection[StoredFile], dict[str, ZooError]]:
        """All files below ``folder`` that can be listed, and what cannot be, with the reason."""
        if isinstance(self.backend, SupportsPermissions):
            return self.backend.readable(f"{folder}/")
        return list(self.files(folder)), {}

    def is_sound(self, kind: Kind, digest: Digest) -> bool:
        """Whether the bytes of an object or manifest, read again, are what its digest says.

        Raises:
            MissingObject: Not here.
        """
        if isinstance(self.backend, CachedBackend):  # what all machines share is what counts
            return type(self)(self.backend.shared).is_sound(kind, digest)
        hasher = blake3()
        for piece in [self.view(kind, digest)] if self.is_near else self.read(kind, digest):
            hasher.update(piece)
        return hasher.hexdigest() == digest.hex

    def manifest(self, digest: Digest) -> Manifest:
        """Read and check a manifest (`zoo.store.manifests.read_manifest`)."""
        return read_manifest(self, digest)

    def document(self, digest: Digest) -> Document:
        """Read and check a manifest or a snapshot (`zoo.store.manifests.read_document`)."""
        return read_document(self, digest)

    def has_manifest(self, digest: Digest) -> bool:
        """Whether a manifest is here, as it is or encoded."""
        return any(self.backend.stat(name_of(form, digest)) for form in FORMS)

    def require_manifest(self, digest: Digest) -> None:
        """Raise `MissingObject` if a manifest is not here."""
        if not self.has_manifest(digest):
            raise self._lacks("manifests", digest)

    def remove(self, name: str) -> None:
        """Delete the file of that name, if it is here."""
        self.backend.delete(name)

    def remember_pruned(self, digest: Digest) -> None:
        """Note that a manifest is deleted on purpose, so that verify does not miss it: by an empty
        file below ``pruned``, which goes when the manifest comes back.
        """
        touch(self.backend, name_of("pruned", digest))

    def was_pruned(self, digest: Digest) -> bool:
        """Whether a manifest was deleted on purpose and has not come back."""
        # The mark alone proves nothing: a prune may have been killed between it and the deletion.
        marked = self.backend.stat(name_of("pruned", digest))
        return bool(marked and not self.has_manifest(digest))

    def pruning(self) -> AbstractContextManager[None]:
        """Announce that things are about to be deleted, so that no upload begins meanwhile.

        Raises (on entry):
            Conflict: Somebody is writing, or pruning; nothing may be deleted.
        """
        return pruning(self.backend)

    @property
    def is_uploading(self) -> bool:
        """Whether this thread is within an `upload`."""
        return bool(getattr(self._thread, "uploads", False))

    @contextmanager
    def upload(self) -> Iterator[None]:
        """Announce that things are being written, so that no prune runs meanwhile.

        Raises (on entry):
            Conflict: A prune is under way.
        """
        if self.is_uploading:
            # Within an upload nothing is pruned, and a prune that is about to give way to it must
            # not stop it here.
            yield
            return
        with uploading(self.backend):
            self._thread.uploads = True
            try:
                yield
            finally:
                self._thread.uploads = False
                sync(self.backend)

    def _lacks(self, kind: Kind, digest: Digest) -> MissingObject:
        encoded = False
        with suppress(ZooError):  # a store that answers no more has said what counts already
            encoded = kind == "objects" and not self.missing("encoded", [digest])
        return MissingObject(KIND_NAMES[kind], str(digest), str(self.backend), encoded=encoded)


def _checked(
    kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]
) -> Iterator[bytes | memoryview]:
    """The same pieces; an error at their end, if they are not what ``digest`` says, keeps a backend
    from keeping them.
    """
    hasher = blake3()
    for piece in pieces:
        hasher.update(piece)
        yield piece
    if f"blake3:{hasher.hexdigest()}" != str(digest):
        what = f"{KIND_NAMES[kind]} {digest}"
        raise Corrupt(what, str(digest), f"blake3:{hasher.hexdigest()}")


def _marker(version: int) -> bytes:
    return (json.dumps({"format": version}) + "\n").encode()


def _encoded(pieces: Iterable[bytes | memoryview]) -> bytes:
    data = b"".join(pieces)
    check(data)
    return data


def _no_store(where: str, *, empty: bool) -> Unavailable:
    if not empty:
        return Unavailable(where, "is not a zoo store")
    hint = f"nothing has been pushed there yet: zoo push NAME --to {quote(where)} begins a store"
    return Unavailable(where, "is not a zoo store: it is empty", hint=hint)


def _refuse_links(backend: SupportsPermissions) -> None:
    """Refuse a store whose own folders lie elsewhere: another store's, or what is not a store's."""
    for name, kind in backend.kinds("").items():
        if name in OWN and kind != FOLDER_KIND:
            raise NotAFile(f"{backend}/{name}", FOLDER_KIND, kind)
