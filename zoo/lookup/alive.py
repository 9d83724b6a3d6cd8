"""Whether a run is still running: its process holds a lock, and renews the time of that file.

A kernel takes a lock from whoever dies. So on one machine the lock is the truth, whatever names and
process ids it has: those of containers come again. Machines that share a file system may not share
its locks; of a run on another one, the age of the last renewal decides.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
import weakref
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO

from zoo.domain.owner import boot, renewing
from zoo.errors import Conflict, NotAFile
from zoo.store.regular import open_regular

__all__ = ["LOCK", "SILENT", "RunLock", "alive", "machine", "taken"]

LOCK = "lock"
EVERY = 20.0
"""Seconds between two renewals."""
SILENT = 300.0
"""Seconds without one after which a run is taken for dead. Shared file systems show times
late, and by a clock of their own."""
LOOKS = 40
"""Times that a lock is tried: who looks whether it is held has it for a moment."""


def machine() -> str:
    """What names the kernel since it was started, in all of its containers; else the host."""
    return boot() or socket.gethostname()


def taken(folder: Path) -> Conflict:
    """The error that the run in ``folder`` is running already."""
    return Conflict(
        f"the run {folder.name} is running; if you know that it is not, delete {folder / LOCK}"
    )


def alive(folder: Path, where: str) -> bool:
    """Whether the run in ``folder``, begun on the `machine` ``where``, is still running."""
    try:
        with open_regular(folder / LOCK, folder / LOCK) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError:
                pass  # there are no locks in this file system
            else:
                if where == machine():
                    return False
            return time.time() - os.fstat(file.fileno()).st_mtime < SILENT
    except (FileNotFoundError, NotAFile):
        return False


class RunLock:
    """The lock of the run in ``folder``, begun on the `machine` ``where``, until released.

    Raises:
        Conflict: Another process has it.
        NotAFile: Something else lies where it should.
    """

    def __init__(self, folder: Path, where: str) -> None:
        if alive(folder, where):
            raise taken(folder)
        self._file = _opened(folder / LOCK)
        try:
            if not _locked(self._file):
                raise taken(folder)
            os.utime(self._file.fileno())
        except BaseException:
            self._file.close()
            raise
        self._renewing = ExitStack()
        self._renewing.enter_context(renewing(partial(os.utime, self._file.fileno()), every=EVERY))
        _ALL.add(self)

    def release(self) -> None:
        """Release it."""
        self._renewing.close()
        self._file.close()


def _opened(path: Path) -> BinaryIO:
    """The file of a lock, made if it is not there; behind a link it would be somebody's."""
    try:
        how = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.fdopen(os.open(path, how, 0o666), "ab")
    except IsADirectoryError as error:
        raise NotAFile(str(path), "a file", "a folder") from error
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise NotAFile(str(path), "a file", "a link") from error


def _locked(file: BinaryIO) -> bool:
    for look in range(LOOKS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05 if look else 0)
        except OSError:
            return True  # there are no locks in this file system
        else:
            return True
    return False


_ALL: weakref.WeakSet[RunLock] = weakref.WeakSet()


def _forget() -> None:
    # A forked worker that outlives its parent would hold what the parent held.
    for lock in _ALL:
        lock._file.close()


os.register_at_fork(after_in_child=_forget)
