"""Reserve: room on the disk that is kept for deletions. Each is written down before anything is
freed, so that on a full disk nothing could be deleted.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from zoo.domain.limits import LEFT_BYTES, RESERVE_BYTES
from zoo.errors import DiskFull

__all__ = ["FILE", "Reserve"]

LOG = logging.getLogger("zoo.serve")
FILE = "reserve"
FULL_BYTES = 1 << 20
"""With less than that free, a deletion may end amid what it writes, which is some kilobytes."""
T = TypeVar("T")


class Reserve:
    """A file that takes room, in the folder of a zoo; all processes that serve it share it."""

    def __init__(self, root: Path) -> None:
        self._path = root / FILE

    def keep(self) -> None:
        """Take the room, unless it is taken or the disk has little. What is taken really is there
        only where the file system can promise it, as most do.

        Raises:
            OSError: It cannot be taken.
        """
        if self._path.exists() and self._path.stat().st_size >= RESERVE_BYTES:
            return
        if shutil.disk_usage(self._path.parent).free < LEFT_BYTES + RESERVE_BYTES:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self._path, flags, 0o600), "wb") as file:
            os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)

    def spend(self, work: Callable[[], T]) -> T:
        """Do something that leads to more room, on a full disk in this one. Where that shows only
        amid it, it is done once more, and finds what is done.

        Raises:
            DiskFull: That was not enough.
        """
        if shutil.disk_usage(self._path.parent).free < FULL_BYTES:
            self._free("there is hardly any left")
        try:
            return work()
        except DiskFull as error:
            self._free(str(error))
            return work()

    def _free(self, why: str) -> None:
        with suppress(OSError):  # not there, or no file of ours: then there is no room
            self._path.unlink()
            LOG.warning("what is kept for deletions is used: %s", why)
