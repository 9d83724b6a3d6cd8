"""Downloads that resume where an earlier one was cut off."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Protocol

from blake3 import blake3

from zoo.errors import Corrupt, Forbidden, NotAFile, disk_errors
from zoo.store.disk import STAGING, Disk

__all__ = ["Download", "Hasher", "download", "forget"]

PIECE = 1 << 20

KEPT = 8 << 20
"""Bytes from which on it is worth keeping what has arrived: some seconds on a slow line."""


@dataclass(frozen=True, slots=True)
class Download:
    """What has arrived, whole.

    Attributes:
        file: The open file.
        name: The file's name.
        digest: Hexadecimal digest of its bytes: BLAKE3, unless another one was asked for.
    """

    file: BinaryIO
    name: str
    digest: str


class Hasher(Protocol):
    """What takes bytes as they come, and gives the digest of all of them."""

    def update(self, data: bytes, /) -> object:
        """Take the next bytes."""

    def hexdigest(self) -> str:
        """The digest of what was taken."""


@contextmanager
def download(
    disk: Disk,
    name: str,
    read: Callable[[int], Iterator[bytes]],
    *,
    limit: int,
    resume: bool = True,
    hashing: Callable[[], Hasher] = blake3,
) -> Iterator[Download]:
    """Write what ``read(offset)`` gives to a temporary file in scratch, removed at the end.

    If reading is cut off, by an error or by the end of the process, and much has arrived, the file
    stays, and the next download of the same ``name`` begins with a copy of it: whether its writer
    still lives is unknown, and two that write to one file could damage what one of them has
    published already. Once the whole is kept, `forget` the parts. ``resume`` is off after they
    turned out to be wrong. ``hashing`` makes what all bytes are hashed with on their way.

    Raises:
        Corrupt: It has more than ``limit`` bytes; no more are read.
        DiskFull: No space for it.
    """
    own = f"{STAGING}/part-{name}-{uuid.uuid4().hex}"
    file, keep = disk.make(own), False
    try:
        with disk_errors(disk.root / STAGING), file:
            disk.rights.give(file.fileno(), disk.rights.writable)
            hasher = hashing()
            if resume:
                _take_up(disk, name, limit, file, hasher)
            try:
                _append(file, hasher, read(file.tell()), name, limit)
            except (OSError, Corrupt):
                raise  # of the disk, which needs the space; or what nobody wants
            except BaseException:  # an interrupt, too
                keep = file.tell() >= KEPT
                raise
            yield Download(file, own, hasher.hexdigest())
    finally:
        if not keep:
            disk.remove(own)


def _append(file: BinaryIO, hasher: Hasher, pieces: Iterable[bytes], name: str, limit: int) -> None:
    for piece in pieces:
        if file.tell() + len(piece) > limit:
            raise Corrupt(f"what was received of {name}", f"{limit} bytes", "more")
        hasher.update(piece)
        file.write(piece)


def forget(disk: Disk, name: str) -> None:
    """Delete all parts of what is kept whole now; a writer that lives finds it there."""
    for part in _parts(disk, name):
        with suppress(Forbidden, NotAFile):  # others may keep theirs
            disk.remove(part)


def _parts(disk: Disk, name: str) -> dict[str, int]:
    """What downloads of exactly this name have left, or are writing, with its sizes; the longest
    first.
    """
    pattern = re.compile(rf"part-{re.escape(name)}-[0-9a-f]{{32}}")
    sizes: dict[str, int] = {}
    for part in disk.names(STAGING):
        if pattern.fullmatch(part) and (status := disk.stat(f"{STAGING}/{part}")):
            sizes[f"{STAGING}/{part}"] = status.st_size
    return dict(sorted(sizes.items(), key=lambda part: -part[1]))


def _take_up(disk: Disk, name: str, limit: int, file: BinaryIO, hasher: Hasher) -> None:
    """Begin ``file`` with the longest part that can be read; it is one itself, and empty."""
    for part, size in _parts(disk, name).items():
        if file.tell() or not 0 < size <= limit:
            continue
        with suppress(FileNotFoundError, Forbidden, NotAFile), disk.open(part) as earlier:
            _append(file, hasher, iter(partial(earlier.read, PIECE), b""), name, limit)
