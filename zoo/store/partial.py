"""Downloads that go on where an earlier one was cut off."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from blake3 import blake3

from zoo.errors import Corrupt, NotAFile, disk_errors
from zoo.store.regular import open_regular
from zoo.store.rights import Rights

__all__ = ["Download", "Hasher", "download", "forget"]

PIECE = 1 << 20

KEPT = 8 << 20
"""Bytes from which on it is worth keeping what has arrived."""


@dataclass(frozen=True, slots=True)
class Download:
    """What has arrived, whole.

    Attributes:
        file: The open file.
        path: Where it is.
        digest: Hexadecimal digest of its bytes: BLAKE3, unless another one was asked for.
    """

    file: BinaryIO
    path: Path
    digest: str


class Hasher(Protocol):
    """What takes bytes as they come, and gives the digest of all of them."""

    def update(self, data: bytes, /) -> object:
        """Take the next bytes."""

    def hexdigest(self) -> str:
        """The digest of what was taken."""


@contextmanager
def download(
    staging: Path,
    name: str,
    read: Callable[[int], Iterator[bytes]],
    *,
    limit: int,
    resume: bool = True,
    hashing: Callable[[], Hasher] = blake3,
) -> Iterator[Download]:
    """Write what ``read(offset)`` gives to a temporary file in ``staging``, removed at the end.

    If reading is cut off, by an error or by the end of the process, and much has arrived, the file
    stays, and the next download of the same ``name`` begins with it. What it holds is copied, not
    taken over: whether its writer still lives is unknown, and two that write to one file could
    damage what one of them has published already. Once the whole is kept, `forget` the parts.

    Args:
        staging: Where the file is made.
        name: What is downloaded.
        read: Reads it from an offset on.
        limit: Bytes that it has at most; reading stops there.
        resume: Whether to begin with what is there; not after that turned out to be wrong.
        hashing: Makes what all bytes are hashed with on their way.

    Raises:
        Corrupt: It has more than ``limit`` bytes.
        DiskFull: No space for it.
    """
    path = staging / f"part-{name}-{uuid.uuid4().hex}"
    keep = False
    try:
        with disk_errors(staging), path.open("x+b") as file:
            rights, hasher = Rights.of(staging), hashing()
            rights.give(file.fileno(), rights.writable)
            if resume:
                parts = _parts(staging, name, path)
                _take_up([part for part in parts if parts[part] <= limit], file, hasher)
            try:
                for piece in read(file.tell()):
                    if file.tell() + len(piece) > limit:
                        raise Corrupt(f"what was received of {name}", f"{limit} bytes", "more")
                    hasher.update(piece)
                    file.write(piece)
            except (OSError, Corrupt):
                raise  # of the disk, which needs the space; or what nobody wants
            except BaseException:
                keep = file.tell() >= KEPT
                raise
            yield Download(file, path, hasher.hexdigest())
    finally:
        if not keep:
            path.unlink(missing_ok=True)


def forget(staging: Path, name: str) -> None:
    """Delete all parts of what is kept whole now; a writer that lives finds it there."""
    for path in _parts(staging, name):
        with suppress(FileNotFoundError, PermissionError):  # others may keep theirs
            path.unlink()


def _parts(staging: Path, name: str, own: Path | None = None) -> dict[Path, int]:
    """What downloads of exactly this name have left, or are writing, with sizes, the longest first;
    ``own`` not.
    """
    sizes: dict[Path, int] = {}
    for path in staging.glob(f"part-{name}-{'?' * 32}"):
        with suppress(FileNotFoundError):  # it has arrived, or was forgotten, meanwhile
            if path != own:
                sizes[path] = path.lstat().st_size
    return dict(sorted(sizes.items(), key=lambda part: -part[1]))


def _take_up(parts: list[Path], file: BinaryIO, hasher: Hasher) -> None:
    """Begin ``file`` with the first of ``parts`` that can be read."""
    for path in parts:
        if file.tell():
            return
        unusable = suppress(FileNotFoundError, PermissionError, NotAFile)
        with unusable, open_regular(path, path) as earlier:
            while piece := earlier.read(PIECE):
                hasher.update(piece)
                file.write(piece)
