"""A bucket as a remote. The layout is that of a store in a folder; see ``docs/store.md``."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from functools import partial
from mmap import ACCESS_READ, mmap
from typing import IO, Self

from blake3 import blake3

from zoo.codec.header import check
from zoo.contracts import Folder, Kind
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.limits import MARKER_BYTES
from zoo.domain.reference import Reference
from zoo.domain.stored import Stored
from zoo.errors import Corrupt, MissingObject, Unavailable, Unsupported, disk_errors
from zoo_bucket import signs
from zoo_bucket.bucket import REQUESTS_AT_ONCE, Bucket, each
from zoo_bucket.place import Place
from zoo_bucket.refs import Refs

__all__ = ["BucketRemote"]

FORMAT = 1
MARKER = "zoo.json"
HELD = 64 << 20
LIST_FROM = 8
WORDS: dict[Kind, str] = {
    "objects": "object",
    "encoded": "encoded object",
    "manifests": "manifest",
}


class BucketRemote:
    """A store in a bucket. Implements `zoo.contracts.Maintained`.

    Attributes:
        place: Where it is.
        at_once: Requests that it serves well at a time.
    """

    at_once = REQUESTS_AT_ONCE

    def __init__(self, bucket: Bucket) -> None:
        self.place = bucket.place
        self._bucket = bucket
        self._refs = Refs(bucket)

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Self:
        """Open the store at ``scheme://bucket/prefix``; ``create`` makes it where nothing is.

        Raises:
            InvalidOption: The location is malformed, or holds credentials.
            Unavailable: The bucket does not answer or does not exist, there is no store and none
                may be made, or other things are there.
            Unsupported: A store of another format, or a service on which names are not safe.
        """
        remote = cls(Bucket(Place.parse(location)))
        if not remote._is_store():
            remote._refuse_others(create=create)
            remote._refs.prove()
            remote._bucket.create(MARKER, (json.dumps({"format": FORMAT}) + "\n").encode())
            remote._is_store()  # somebody else's marker, of another format, may have been faster
        return remote

    def _is_store(self) -> bool:
        data = self._bucket.get(MARKER, MARKER_BYTES)
        if data is None:
            return False
        try:
            version = json.loads(data)["format"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Unavailable(f"{self.place}/{MARKER}", f"cannot be read: {error}") from error
        if type(version) is not int or version != FORMAT:
            raise Unsupported(
                f"{self.place} is a store of format {version}; this program reads {FORMAT}"
            )
        return True

    def _refuse_others(self, *, create: bool) -> None:
        # Listing also tells a bucket that does not exist from one without a store.
        others = (key for key in self._bucket.below() if key and not key.startswith(signs.PROBES))
        found = next(others, None)
        if not create:
            raise Unavailable(str(self.place), "is not a zoo store")
        # Whoever makes the same store at the same time may have begun to fill it.
        if found is not None and not self._is_store():
            raise Unavailable(str(self.place), "is not a zoo store and not empty")

    def missing(self, kind: Kind, digests: Iterable[Digest]) -> set[Digest]:
        """Those of ``digests`` that are not here."""
        shards: dict[str, list[Digest]] = defaultdict(list)
        for digest in set(digests):
            shards[digest.hex[:2]].append(digest)
        jobs: list[Callable[[], set[Digest]]] = []
        for shard, wanted in shards.items():
            if len(wanted) >= LIST_FROM:  # one page of a listing costs what one question does
                jobs.append(partial(self._unlisted, kind, shard, wanted))
            else:
                jobs += [partial(self._absent, kind, digest) for digest in wanted]
        return set[Digest]().union(*each(lambda job: job(), jobs))

    def _unlisted(self, kind: Kind, shard: str, wanted: list[Digest]) -> set[Digest]:
        there = set(self._bucket.below(f"{kind}/{shard}/"))
        return {digest for digest in wanted if _key(kind, digest) not in there}

    def _absent(self, kind: Kind, digest: Digest) -> set[Digest]:
        return set() if self._bucket.stat(_key(kind, digest)) else {digest}

    def size(self, kind: Kind, digest: Digest) -> int:
        """Size in bytes.

        Raises:
            MissingObject: Not here.
        """
        found = self._bucket.stat(_key(kind, digest))
        if found is None:
            raise MissingObject(WORDS[kind], str(digest), str(self.place))
        return found["size"]

    def read(self, kind: Kind, digest: Digest, offset: int = 0) -> Iterator[bytes]:
        """The bytes from ``offset`` on, in pieces; a lost connection is taken up where it ended.

        Raises:
            MissingObject: Not here.
        """
        pieces = self._bucket.open(_key(kind, digest), offset)
        if pieces is None:
            raise MissingObject(WORDS[kind], str(digest), str(self.place))
        yield from pieces

    def write(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> bool:
        """Keep bytes under their digest; False if they were here already.

        They are hashed before any is sent; what is larger than 64 MiB waits in a temporary file.

        Raises:
            Corrupt: The bytes are not what ``digest`` (or the checksum) says; nothing was kept.
            DiskFull: No space for the temporary file; nothing was kept.
        """
        key = _key(kind, digest)
        if self._bucket.stat(key):
            return False
        # Of an object there are several encodings. The first stays: another writer may be coding
        # against it already.
        return self._keep(kind, digest, pieces, first=kind == "encoded")

    def replace(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> None:
        """Keep bytes under their digest, in the place of damaged ones if such are here.

        Raises:
            Corrupt: The bytes are not what ``digest`` (or the checksum) says; nothing was changed.
            DiskFull: No space for the temporary file; nothing was changed.
        """
        self._keep(kind, digest, pieces, first=False)

    def _keep(
        self,
        kind: Kind,
        digest: Digest,
        pieces: Iterable[bytes | memoryview],
        *,
        first: bool,
    ) -> bool:
        """Check bytes and send them; unless somebody was ``first``, if that is asked for."""
        with tempfile.SpooledTemporaryFile(max_size=HELD) as file:
            with disk_errors(tempfile.gettempdir()):
                found = _spool(pieces, file)
            if kind != "encoded" and found != str(digest):
                raise Corrupt(f"{WORDS[kind]} {digest}", str(digest), found)
            data = _checked(file) if kind == "encoded" else b""
            if first:
                return self._bucket.create(_key(kind, digest), data)
            file.seek(0)
            self._bucket.put(_key(kind, digest), file)
        if kind == "manifests" and self._bucket.stat(_key("pruned", digest)):
            # A mark that stays hides nothing while the manifest is here.
            with suppress(Unavailable, Unsupported):
                self._bucket.delete(_key("pruned", digest))
        return True

    def now(self) -> datetime:
        """The time of the service."""
        return signs.now(self._bucket)

    def files(self, folder: Folder) -> Iterator[Stored]:
        """All objects below ``folder``, also those that are no part of a store."""
        return self._bucket.files(f"{folder}/")

    def start(self, kind: Kind, digest: Digest, length: int) -> bytes:
        """The first ``length`` bytes, or all if there are fewer.

        Raises:
            MissingObject: Not here.
        """
        data = self._bucket.get(_key(kind, digest), length)
        if data is None:
            raise MissingObject(WORDS[kind], str(digest), str(self.place))
        return data

    def is_sound(self, kind: Kind, digest: Digest) -> bool:
        """Whether the bytes of an object or manifest, downloaded, are what its digest says.

        Raises:
            MissingObject: Not here.
        """
        hasher = blake3()
        for piece in self.read(kind, digest):
            hasher.update(piece)
        return hasher.hexdigest() == digest.hex

    def remove(self, name: str) -> None:
        """Delete the object of that name, if it is here."""
        self._bucket.delete(name)

    def remember_pruned(self, digest: Digest) -> None:
        """Note that a manifest is deleted on purpose, so that verify does not miss it."""
        self._bucket.put(_key("pruned", digest), b"")

    def upload(self) -> AbstractContextManager[None]:
        """Announce that things are being written, so that no prune runs meanwhile.

        Raises (on entry):
            Conflict: A prune is under way.
        """
        return signs.uploading(self._bucket)

    def pruning(self) -> AbstractContextManager[None]:
        """Announce that things are about to be deleted, so that no upload begins meanwhile.

        Raises (on entry):
            Conflict: Somebody is writing, or pruning; nothing may be deleted.
        """
        return signs.pruning(self._bucket)

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
            Unsupported: The service does not honour conditional writes.
        """
        self._refs.append(ref, entry)


def _key(folder: Folder, digest: Digest) -> str:
    suffix = ".json" if folder == "manifests" else ""
    return f"{folder}/{digest.hex[:2]}/{digest.hex}{suffix}"


def _spool(pieces: Iterable[bytes | memoryview], file: IO[bytes]) -> str:
    """Write ``pieces`` to ``file``; their digest."""
    hasher = blake3()
    for piece in pieces:
        hasher.update(piece)
        file.write(piece)
    file.flush()
    return f"blake3:{hasher.hexdigest()}"


def _checked(file: IO[bytes]) -> bytes | memoryview:
    """The encoded object in ``file``, checked by its own checksum; mapped, not read into memory."""
    # Nothing cannot be mapped, and is no encoded object either.
    data = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ)) if file.tell() else b""
    check(data)
    return data
