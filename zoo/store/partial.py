"""Downloads that go on where an earlier one was cut off."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from zoo.errors import disk_errors

__all__ = ["Download", "discard", "download"]

PIECE = 1 << 20

KEPT = 8 << 20
"""Bytes from which on it is worth keeping what has arrived."""

STALE_SECONDS = 600
"""A file that was not written to for so long has no writer any more."""


@dataclass(frozen=True, slots=True)
class Download:
    """What has arrived, whole.

    Attributes:
        file: The open file.
        path: Where it is.
        blake3: Hexadecimal digest of its bytes.
    """

    file: BinaryIO
    path: Path
    blake3: str


@contextmanager
def download(
    staging: Path, name: str, read: Callable[[int], Iterator[bytes]]
) -> Iterator[Download]:
    """Write what ``read(offset)`` gives to a temporary file in ``staging``, removed at the end.

    If reading is cut off, by an error or by the end of the process, and much has arrived, the file
    stays, and the next download of the same ``name`` begins with it. What it holds is copied, not
    taken over: whether its writer still lives is unknown, and two that write to one file could
    damage what one of them has published already.

    Raises:
        DiskFull: No space for it.
    """
    path = staging / f"part-{name}-{uuid.uuid4().hex}"
    keep = False
    try:
        with disk_errors(staging), path.open("x+b") as file:
            hasher = blake3()
            _take_up(staging, name, file, hasher)
            try:
                for piece in read(file.tell()):
                    hasher.update(piece)
                    file.write(piece)
            except OSError:
                raise  # of the disk, which needs the space
            except BaseException:
                keep = file.tell() >= KEPT
                raise
            yield Download(file, path, hasher.hexdigest())
    finally:
        if not keep:
            path.unlink(missing_ok=True)


def discard(staging: Path, name: str) -> None:
    """Forget what earlier downloads left: it, or what came after it, was wrong."""
    for path in staging.glob(f"part-{name}-*"):
        path.unlink(missing_ok=True)


def _take_up(staging: Path, name: str, file: BinaryIO, hasher: blake3) -> None:
    """Begin ``file`` with the longest of what earlier downloads left."""
    sizes: dict[Path, int] = {}
    for path in staging.glob(f"part-{name}-*"):
        with suppress(FileNotFoundError):  # it has arrived, or was discarded, meanwhile
            sizes[path] = path.stat().st_size
    for path in sorted(sizes, key=lambda path: -sizes[path]):
        with suppress(FileNotFoundError):
            if sizes[path] > file.tell():
                with path.open("rb") as earlier:
                    while piece := earlier.read(PIECE):
                        hasher.update(piece)
                        file.write(piece)
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
