"""A bucket as a backend: keys below a prefix, by requests that may be many at once."""

from __future__ import annotations

import tempfile
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Self

import obstore
from obstore.exceptions import AlreadyExistsError

from zoo.domain.stored import StoredFile
from zoo.errors import Unavailable, Unsupported, disk_errors
from zoo_bucket.errors import NO_BUCKET, NoSuchRange, translated
from zoo_bucket.location import Location

if TYPE_CHECKING:
    from obstore import GetOptions

__all__ = ["BucketBackend"]

PIECE = 1 << 20
PART = 8 << 20
PARTS_AT_ONCE = 4
REQUESTS_AT_ONCE = 16
LISTED_AT_ONCE = 1000
LIST_FROM = 8
"""So many keys of one folder are looked up by listing it: a page costs what one question does."""
IN_MEMORY = 64 << 20
"""Bytes that are held in memory until they are sent; more wait in a temporary file."""
SCRATCH = "tmp/"
WRITER = "zoowriter"  # a name that all three services allow for metadata


class BucketBackend:
    """The keys below one prefix of a bucket. Implements `zoo.contracts.Backend` and
    `SupportsBatches`.

    Attributes:
        location: Where it is.
        at_once: Requests that it serves well at a time.
    """

    at_once = REQUESTS_AT_ONCE

    def __init__(self, location: Location) -> None:
        self.location = location
        self._is_exclusive = False
        with translated(location):
            self._store, self._sender = location.clients()

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Self:  # noqa: ARG003 - nobody makes buckets
        """Reach ``scheme://bucket/prefix``; nothing is asked yet.

        Raises:
            InvalidOption: The location is malformed, or holds credentials.
            Unavailable: The settings in the environment cannot be used.
        """
        return cls(Location.parse(location))

    def __str__(self) -> str:
        return str(self.location)

    def stat(self, key: str) -> StoredFile | None:
        """Size and date of an object; None if there is none."""
        try:
            with translated(self.location):
                head = obstore.head(self._store, self._path(key))
        except FileNotFoundError:
            return None
        return StoredFile(key, head["size"], head["last_modified"])

    def present(self, keys: Collection[str]) -> dict[str, StoredFile]:
        """What is under those of ``keys`` under which something is."""
        folders: dict[str, list[str]] = defaultdict(list)
        for key in keys:
            folders[f"{key.rpartition('/')[0]}/"].append(key)
        jobs: list[Callable[[], Iterable[StoredFile]]] = []
        for folder, below in folders.items():
            if len(below) >= LIST_FROM:
                jobs.append(partial(self._listed, folder, set(below)))
            else:
                jobs += [partial(self._asked, key) for key in below]
        with ThreadPoolExecutor(max(1, min(REQUESTS_AT_ONCE, len(jobs)))) as pool:
            stored = [file for files in pool.map(lambda job: job(), jobs) for file in files]
        return {file.name: file for file in stored}

    def _listed(self, folder: str, keys: set[str]) -> list[StoredFile]:
        return [file for file in self.list(folder) if file.name in keys]

    def _asked(self, key: str) -> list[StoredFile]:
        stored = self.stat(key)
        return [stored] if stored else []

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of an object from ``offset`` on, at most ``length`` of them, in pieces; a lost
        connection is taken up where it ended.

        Raises:
            FileNotFoundError: There is none.
        """
        options: GetOptions = {"range": {"offset": offset}} if offset else {}
        if length is not None:
            options = {"range": (offset, offset + length)}
        if offset:  # a range of no bytes is an error to every service
            stored = self.stat(key)
            if stored is None:
                raise FileNotFoundError(key)
            if offset >= stored.bytes or length == 0:
                return iter(())
        try:
            with translated(self.location):
                result = obstore.get(self._store, self._path(key), options=options)
                return self._pieces(iter(result.stream(min_chunk_size=PIECE)))
        except NoSuchRange:  # it is empty
            return iter(())

    def _pieces(self, stream: Iterator[bytes]) -> Iterator[bytes]:
        while True:
            # Only the waiting: what the reader does with a piece is no failure of the service.
            with translated(self.location):
                piece = next(stream, None)
            if piece is None:
                return
            yield bytes(piece)

    def put(self, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Write an object whole, in parts where it is large, over one that may be there.

        All pieces are taken before any is sent; what is larger than 64 MiB waits in a file.

        Raises:
            DiskFull: No space for that file; nothing was sent.
        """
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
            with disk_errors(tempfile.gettempdir()):
                for piece in pieces:
                    file.write(piece)
                file.flush()
            file.seek(0)
            try:
                with translated(self.location):
                    obstore.put(
                        self._sender,
                        self._path(key),
                        file,
                        chunk_size=PART,
                        max_concurrency=PARTS_AT_ONCE,
                    )
            except FileNotFoundError:
                raise Unavailable(str(self.location), NO_BUCKET) from None

    def create(self, key: str, data: bytes | memoryview) -> bool:
        """Write an object, in one part, unless its key is taken; whether it was written.

        Raises:
            Unsupported: The service cannot write on condition, or says that it can and does not.
        """
        self._prove_exclusive()
        return self._create(key, data)

    def _create(self, key: str, data: bytes | memoryview) -> bool:
        writer = uuid.uuid4().hex
        try:
            with translated(self.location):
                obstore.put(
                    self._sender if len(data) > PIECE else self._store,
                    self._path(key),
                    data,
                    mode="create",
                    use_multipart=False,
                    attributes={WRITER: writer},
                )
        except FileNotFoundError:
            raise Unavailable(str(self.location), NO_BUCKET) from None
        except AlreadyExistsError:
            # A second try, made because the answer to the first was lost, meets our own object.
            return self._writer(key) == writer
        return True

    def _writer(self, key: str) -> str | None:
        try:
            with translated(self.location):
                return obstore.get(self._store, self._path(key)).attributes.get(WRITER)
        except FileNotFoundError:
            return None

    def _prove_exclusive(self) -> None:
        """Try once whether this service really refuses to create what is there.

        Some that speak S3 ignore the condition: of two writers, one would silently undo the other.
        """
        if self._is_exclusive:
            return
        key = f"{SCRATCH}probe-{uuid.uuid4().hex}"
        try:
            exclusive = self._create(key, b"1") and not self._create(key, b"2")
        except Unsupported:
            exclusive = False
        finally:
            with suppress(Unavailable, Unsupported):  # what stays does no harm
                self.delete(key)
        if not exclusive:
            raise Unsupported(
                f"{self.location} does not honor conditional writes (If-None-Match), so that "
                "two people who push at once would undo each other's work"
            )
        self._is_exclusive = True

    def list(self, folder: str) -> Iterator[StoredFile]:
        """All objects below ``folder``, dated by the clock of the service."""
        prefix = self._path(folder)
        with translated(self.location):
            batches = iter(obstore.list(self._store, prefix or None, chunk_size=LISTED_AT_ONCE))
        while True:
            try:
                with translated(self.location):
                    batch = next(batches, None)
            except FileNotFoundError:
                raise Unavailable(str(self.location), NO_BUCKET) from None
            if batch is None:
                return
            for meta in batch:
                name = meta["path"][len(self.location.prefix) :]
                yield StoredFile(name, meta["size"], meta["last_modified"])

    def folders(self, folder: str) -> Collection[str]:
        """The names of what looks like a folder directly below ``folder``."""
        with translated(self.location):
            listing = obstore.list_with_delimiter(self._store, self._path(folder))
        return [name.rstrip("/").rpartition("/")[2] for name in listing["common_prefixes"]]

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        with suppress(FileNotFoundError), translated(self.location):
            obstore.delete(self._store, self._path(key))

    def now(self) -> datetime:
        """The time of the service, which dates nothing but what is written."""
        key = f"{SCRATCH}probe-{uuid.uuid4().hex}"
        self.put(key, [])
        try:
            for file in self.list(SCRATCH):
                if file.name == key:
                    return file.at
        finally:
            with suppress(Unavailable, Unsupported):
                self.delete(key)
        raise Unavailable(str(self.location), "its listing lacks what was written just now")

    def _path(self, key: str) -> str:
        return self.location.prefix + key
