"""Regular files, and nothing else: who opens a pipe may wait for ever, and a device has no end."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from zoo.errors import Corrupt, NotAFile

__all__ = ["kind_of", "open_regular", "read_regular", "read_whole"]

READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFREG: "a file",
}


def kind_of(mode: int) -> str:
    """What a mode says a file is."""
    return KINDS.get(stat.S_IFMT(mode), "a device")


def open_regular(
    name: str | Path, shown: str | Path, *, dir_fd: int | None = None, follow: bool = False
) -> BufferedReader:
    """Open a regular file for reading, at once; ``follow`` opens one behind a link, too.

    Raises:
        NotAFile: It is something else. ``shown`` is what it is called then.
        OSError: It cannot be opened.
    """
    try:
        handle = os.open(name, READ | (0 if follow else os.O_NOFOLLOW), dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise NotAFile(str(shown), "a file", "a link") from error
        if error.errno == errno.ENXIO:  # nobody answers at a socket
            raise NotAFile(str(shown), "a file", "a socket") from error
        raise
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise NotAFile(str(shown), "a file", kind_of(mode))
    except BaseException:
        os.close(handle)
        raise
    # Not above: where an interrupt comes, the file may have closed it, and it be another's by now.
    return os.fdopen(handle, "rb")


def read_regular(path: Path, limit: int) -> bytes:
    """All bytes of a small file of zoo's own that is no link.

    Raises:
        NotAFile: It is something else.
        Corrupt: It has more than ``limit`` bytes.
        OSError: It cannot be read.
    """
    with open_regular(path, path) as file:
        return read_whole(file, path, limit)


def read_whole(file: BinaryIO, shown: str | Path, limit: int) -> bytes:
    """All bytes of a small open file, which is called ``shown``.

    Raises:
        Corrupt: It has more than ``limit`` bytes, which zoo never writes there.
    """
    data = file.read(limit + 1)
    if len(data) > limit:
        raise Corrupt(str(shown), f"at most {limit} bytes", "more")
    return data
