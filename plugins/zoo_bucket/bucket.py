"""Requests to a bucket, and the one translation of what obstore raises."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from zoo.domain.stored import Stored
from zoo.errors import Unavailable, Unsupported, ZooError
from zoo_bucket.place import Place

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta

__all__ = ["REQUESTS_AT_ONCE", "Bucket", "each"]

PIECE = 1 << 20
PART = 8 << 20
PARTS_AT_ONCE = 4
REQUESTS_AT_ONCE = 16
LISTED_AT_ONCE = 1000
WRITER = "zoowriter"  # a name that all three services allow for metadata
NO_BUCKET = "the bucket does not exist"

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
# Who asks the machine itself for credentials has found none in the environment.
_NO_CREDENTIALS = re.compile(r"169\.254\.169\.254|169\.254\.170\.2|metadata\.google")

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _NoSuchRange(Exception):
    """A part was asked for of an object that has no bytes there."""


class Bucket:
    """The keys below one prefix of a bucket.

    Raises from all methods:
        Unavailable: The service does not answer, or refuses.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        with self._translated():
            self._store, self._sender = place.clients()

    def get(self, key: str, length: int | None = None) -> bytes | None:
        """The bytes of a small object, or the first of a large one; None if there is none."""
        options: GetOptions = {} if length is None else {"range": (0, length)}
        try:
            with self._translated():
                return bytes(obstore.get(self._store, self._path(key), options=options).bytes())
        except FileNotFoundError:
            return None
        except _NoSuchRange:  # it is empty
            return b""

    def stat(self, key: str) -> ObjectMeta | None:
        """Size and age of an object, or None if there is none."""
        try:
            with self._translated():
                return obstore.head(self._store, self._path(key))
        except FileNotFoundError:
            return None

    def open(self, key: str, offset: int) -> Iterator[bytes] | None:
        """The bytes of an object from ``offset`` on, in pieces; None if there is no object."""
        if offset:  # a range of no bytes is an error to every service
            found = self.stat(key)
            if found is None or offset >= found["size"]:
                return None if found is None else iter(())
        try:
            with self._translated():
                options: GetOptions = {"range": {"offset": offset}} if offset else {}
                result = obstore.get(self._store, self._path(key), options=options)
                return self._pieces(iter(result.stream(min_chunk_size=PIECE)))
        except FileNotFoundError:
            return None

    def _pieces(self, stream: Iterator[bytes]) -> Iterator[bytes]:
        while True:
            # Only the waiting: what the reader does with a piece is no failure of the service.
            with self._translated():
                piece = next(stream, None)
            if piece is None:
                return
            yield bytes(piece)

    def put(self, key: str, content: bytes | IO[bytes]) -> None:
        """Write an object whole, in parts where it is large, over one that may be there."""
        try:
            with self._translated():
                obstore.put(
                    self._sender,
                    self._path(key),
                    content,
                    chunk_size=PART,
                    max_concurrency=PARTS_AT_ONCE,
                )
        except FileNotFoundError:
            raise Unavailable(str(self.place), NO_BUCKET) from None

    def create(self, key: str, data: bytes | memoryview) -> bool:
        """Write an object, in one part, unless its key is taken; whether it was written.

        Raises:
            Unsupported: The service cannot write on condition.
        """
        writer = uuid.uuid4().hex
        try:
            with self._translated():
                obstore.put(
                    self._sender if len(data) > PIECE else self._store,
                    self._path(key),
                    data,
                    mode="create",
                    use_multipart=False,
                    attributes={WRITER: writer},
                )
        except FileNotFoundError:
            raise Unavailable(str(self.place), NO_BUCKET) from None
        except AlreadyExistsError:
            # A second try, made because the answer to the first was lost, meets our own object.
            return self._writer(key) == writer
        return True

    def _writer(self, key: str) -> str | None:
        try:
            with self._translated():
                return obstore.get(self._store, self._path(key)).attributes.get(WRITER)
        except FileNotFoundError:
            return None

    def below(self, folder: str = "") -> Iterator[str]:
        """All keys that begin with ``folder``, which is empty or ends with a slash."""
        return (file.name for file in self.files(folder))

    def files(self, folder: str) -> Iterator[Stored]:
        """As `below`, each with its size and when it was written, by the clock of the service."""
        prefix = self.place.prefix + folder
        with self._translated():
            batches = iter(obstore.list(self._store, prefix or None, chunk_size=LISTED_AT_ONCE))
        while True:
            try:
                with self._translated():
                    batch = next(batches, None)
            except FileNotFoundError:
                raise Unavailable(str(self.place), NO_BUCKET) from None
            if batch is None:
                return
            for meta in batch:
                name = meta["path"][len(self.place.prefix) :]
                yield Stored(name, meta["size"], meta["last_modified"])

    def folders(self, folder: str) -> list[str]:
        """The names of what looks like a folder directly below ``folder``."""
        prefix = self.place.prefix + folder
        with self._translated():
            found = obstore.list_with_delimiter(self._store, prefix)["common_prefixes"]
        return [name.rstrip("/").rpartition("/")[2] for name in found]

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        try:
            with self._translated():
                obstore.delete(self._store, self._path(key))
        except FileNotFoundError:
            return

    def _path(self, key: str) -> str:
        return self.place.prefix + key

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except AlreadyExistsError:
            raise
        except (BaseError, NotImplementedError, ValueError) as error:
            if _status(error) == "416":
                raise _NoSuchRange from None
            # Not from the original: its text may hold key ids, signed URLs and the server's words.
            raise _translation(str(self.place), error) from None


def each(function: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """``function`` of every item, in order, with many requests under way at once."""
    items = list(items)
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(REQUESTS_AT_ONCE, len(items))) as pool:
        return list(pool.map(function, items))


def _status(error: Exception) -> str:
    found = _STATUS.search(str(error))
    return found[1] if found else ""


def _translation(place: str, error: Exception) -> ZooError:
    text, number = str(error), _status(error)
    code = _CODE.search(text)
    word = f" ({code[1]})" if code else ""
    if isinstance(error, NotImplementedError) or number == "501":
        return Unsupported(
            f"{place} cannot do what a store needs: its service says 'not implemented'"
        )
    if _NO_CREDENTIALS.search(text):
        why = "no credentials: set those of the service in the environment"
        return Unavailable(place, why, hint="")
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        reason = f"access is refused{word}: check the credentials and their rights"
    elif number == "404":
        reason = NO_BUCKET
    elif "redirect" in text:
        reason = "the bucket is in another region: set AWS_REGION"
    elif number:
        reason = f"the service answered {number}{word}"
    elif "builder error" in text:
        reason = "the endpoint is no https:// address"
    elif "HTTP error" in text:
        reason = "no answer from the service, or the connection was lost"
    else:
        reason = "the settings of the service in the environment are incomplete or wrong"
    # Most reasons say themselves what to do.
    return Unavailable(place, reason, hint=None if reason == NO_BUCKET else "")
