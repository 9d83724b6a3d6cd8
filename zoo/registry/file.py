"""The file of a zoo's registry, and those beside it: who may write them, and what is set aside."""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import shutil
import stat
import struct
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

from zoo.errors import Unavailable
from zoo.registry.engines.sqlite import sides

__all__ = ["obstacle", "set_aside", "share"]

IN_USE = 128
"""The byte of the log's index that every process which has the database open holds a lock on."""
LOCK = "hhqqi"
"""How Linux lays out a lock in memory: type, from where, start, length, whose."""
LOOKED_AT: dict[tuple[int, int], int] = {}
"""Descriptors of the log's indexes that were looked at. They stay open: to close any descriptor of
a file ends all locks that this process has on it, and SQLite's would be among them."""


def obstacle(path: Path) -> Unavailable | None:
    """Why the database ``path``, there or not, cannot be written by us; None if it can.

    Files beside it that somebody else left, and that stand in the way, are replaced if we may.
    """
    for side in sides(path):
        if side.exists() and not os.access(side, os.W_OK):
            _take_over(path)
    for each in (path.parent, path, *sides(path)):
        if each.exists() and not os.access(each, os.W_OK):
            return Unavailable(str(path), f"the index cannot be written: {_why(each)}")
    return None


def share(path: Path, folder: Path, *, fresh: bool = False) -> None:
    """Let those use a database of ours who may use ``folder``, the zoo's, whatever the umask was.

    A ``fresh`` one is given exactly the folder's rights, an older one at least these. SQLite gives
    the files beside it the same mode. It is the rule of `zoo.store.rights`, which lies beside us.
    """
    status, above = path.stat(), folder.stat()
    wanted = above.st_mode & 0o666 | 0o600
    if fresh and (status.st_gid != above.st_gid or os.geteuid() == 0):
        with suppress(PermissionError):  # of a group that one is not in
            os.chown(path, above.st_uid if os.geteuid() == 0 else -1, above.st_gid)
    if fresh or (status.st_mode & wanted != wanted and status.st_uid == os.geteuid()):
        path.chmod(wanted if fresh else stat.S_IMODE(status.st_mode) | wanted)


def set_aside(path: Path, why: str = "damaged") -> Path:
    """Rename a database, and what is beside it, to a name that says why; which one."""
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    kept = path.with_name(f"{path.name}.{why}-{at}")
    for side, aside in zip(sides(path), sides(kept), strict=True):
        with suppress(FileNotFoundError):
            side.rename(aside)
    with suppress(FileNotFoundError):
        path.rename(kept)
    return kept


def _take_over(path: Path) -> None:
    """Replace the files beside a database that nobody has open by our own, with what is in them."""
    log, shared = sides(path)
    with suppress(OSError):  # what we may not do is told by whoever asks for the obstacle
        if _in_use(shared):
            return
        if log.exists():
            fresh = log.with_name(f"{log.name}.{os.getpid()}")
            try:
                shutil.copyfile(log, fresh)
                shutil.copymode(path, fresh)
                fresh.replace(log)
            finally:
                fresh.unlink(missing_ok=True)
        shared.unlink(missing_ok=True)  # made again from the log


def _in_use(shared: Path) -> bool:
    if not shared.exists():
        return False
    if not sys.platform.startswith("linux"):
        return True  # it cannot be told
    known = shared.stat()
    which = known.st_dev, known.st_ino
    if which not in LOOKED_AT:
        LOOKED_AT[which] = os.open(shared, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    asked = struct.pack(LOCK, fcntl.F_WRLCK, os.SEEK_SET, IN_USE, 1, 0)
    lock = struct.unpack(LOCK, fcntl.fcntl(LOOKED_AT[which], fcntl.F_GETLK, asked))
    return bool(lock[0] != fcntl.F_UNLCK)


def _why(path: Path) -> str:
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return "the disk is read-only"
    status, folder = path.stat(), path.parent.stat()
    whose = f"{path} belongs to {_user(status.st_uid)} (mode {stat.S_IMODE(status.st_mode):o})"
    if not status.st_mode & stat.S_IWGRP:
        return f"{whose}, who can: chmod g+w {quote(str(path))}"
    if path.is_file() and status.st_gid != folder.st_gid:
        return f"{whose}, who can: chgrp {_group(folder.st_gid)} {quote(str(path))}"
    return f"{whose}, and you are not in its group {_group(status.st_gid)}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
