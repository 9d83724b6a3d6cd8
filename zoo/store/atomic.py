"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from zoo.errors import disk_errors

__all__ = ["create_exclusive", "staged", "write_whole"]


@contextmanager
def staged(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A temporary file in ``folder``, removed at the end unless it was renamed away.

    Raises:
        DiskFull: There is no space for it.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder)
    path = Path(name)
    try:
        # The inner block closes the file first: a full disk may show only then.
        with disk_errors(folder), os.fdopen(handle, "wb") as file:
            yield file, path
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def settle(file: BinaryIO) -> None:
    """Force the bytes to disk and make the file read-only."""
    file.flush()
    os.fsync(file.fileno())
    os.fchmod(file.fileno(), 0o444)


def publish(path: Path, target: Path) -> bool:
    """Rename ``path`` to ``target``, whatever is there; True. Durable after `sync_folder`."""
    make_folder(target.parent)
    path.replace(target)
    return True


def publish_first(path: Path, target: Path) -> bool:
    """Give ``path`` the name ``target`` unless that is taken; whether it was free.

    Durable after `sync_folder`.
    """
    make_folder(target.parent)
    try:
        os.link(path, target)
    except FileExistsError:
        return False
    except FileNotFoundError:
        # Whoever published the same meanwhile may have cleared away what others had of it.
        if not target.exists():
            raise
        return False
    return True


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with disk_errors(folder):
        folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable, where the system can."""
    with suppress(OSError, AttributeError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def create_exclusive(target: Path, data: bytes, *, staging: Path) -> None:
    """Create ``target`` with its whole content, unless it exists.

    A hard link is the one step that POSIX and network file systems alike make exclusive.

    Raises:
        FileExistsError: Somebody else was first.
        DiskFull: There is no space for it.
    """
    make_folder(target.parent)
    with staged(staging) as (file, path):
        file.write(data)
        settle(file)
        os.link(path, target)
    sync_folder(target.parent)


def write_whole(target: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """Write a file of the user's: staged beside ``target``, then renamed over it.

    Raises:
        DiskFull: There is no space for it; ``target`` is as it was.
    """
    with staged(target.parent) as (file, path):
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
        path.chmod(0o666 & ~current_umask())
        path.replace(target)


def current_umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
