"""Disk: the files below one folder, a store's.

Whoever can write to a shared folder can put links, pipes and devices there. So no link below the
root is followed, for reading, writing, listing or deleting: each folder is opened from the one
above it. The root itself may be reached through links. What is made has the rights of the root, as
``git init --shared`` has it: else a shared folder would belong to whoever pushed first.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EDQUOT, EFBIG, EISDIR, ELOOP, ENOSPC, ENOTDIR, ENOTEMPTY, EPERM, EROFS
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from zoo.errors import (
    Conflict,
    DiskFull,
    Forbidden,
    NotAFile,
    ZooError,
    disk_errors,
)
from zoo.store.regular import kind_of, open_regular, read_whole
from zoo.store.rights import Rights, forbidden

__all__ = ["DEEPEST", "FOLDER_KIND", "STAGING", "Disk"]

STAGING = "tmp"
DEEPEST = 16
"""Folders below the one that is listed; zoo makes four."""
LOOKS = 250
"""Looks for a lock, 20 ms apart: whoever has it changes a small file, which takes no 5 s."""
FOLDER_KIND = "a folder"
"""What `Disk.kinds` says of folders."""
FULL = (ENOSPC, EDQUOT, EFBIG)
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Disk:
    """The files below ``root``, by their names there: ``objects/ab/abcdef…``.

    Raises from all methods, unless they say otherwise:
        NotAFile: There is a link, pipe or device where a file or folder should be.
        Forbidden: The rights of a folder or file do not allow it.
        DiskFull: No space left.

    Attributes:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def folder(self, name: str, *, make: bool = False) -> Iterator[int]:
        """A descriptor of the folder ``name``, which ``make`` makes with those above it.

        Raises:
            FileNotFoundError: There is none.
        """
        with self._explained(name):
            here = self._open_folder(name, make=make)
        try:
            yield here
        finally:
            os.close(here)

    def make_folder(self, name: str) -> None:
        """Make a folder, with those above it, unless it is there."""
        with self.folder(name, make=True):
            pass

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading.

        Raises:
            FileNotFoundError: There is none.
        """
        above, _, last = name.rpartition("/")
        with self.folder(above) as folder, self._explained(name):
            return open_regular(last, f"{self.root}/{name}", dir_fd=folder)

    def read(self, name: str, limit: int) -> bytes:
        """All bytes of a small file.

        Raises:
            FileNotFoundError: There is none.
            Corrupt: It has more than ``limit`` bytes, which zoo never writes there.
        """
        with self.open(name) as file:
            return read_whole(file, self.root / name, limit)

    def stat(self, name: str) -> os.stat_result | None:
        """What is known of a file; None if there is none, or something else in its place."""
        above, _, last = name.rpartition("/")
        try:
            with self.folder(above) as folder, self._explained(name):
                status = os.stat(last, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def holds(self, names: Iterable[str]) -> dict[str, os.stat_result]:
        """Those of ``names`` that are files, with what is known of them. Each folder is opened
        once, also those above it.
        """
        present: dict[str, os.stat_result] = {}
        with suppress(FileNotFoundError), self.folder("") as root:
            opened = [("", root)]
            try:
                for name in sorted(names):
                    if status := self._stat_from(opened, name):
                        present[name] = status
            finally:
                _close_below(opened, 1)
        return present

    def _stat_from(self, opened: list[tuple[str, int]], name: str) -> os.stat_result | None:
        *folders, last = name.split("/")
        try:
            here = self._go_to(folders, opened)
            status = os.stat(last, dir_fd=here, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError:
            with self._explained(name):
                raise
        return status if stat.S_ISREG(status.st_mode) else None

    def _go_to(self, folders: list[str], opened: list[tuple[str, int]]) -> int:
        """A descriptor of a folder, from the last one that was gone to; ``opened`` are those on
        the way to it.
        """
        same = 1
        for part, (other, _) in zip(folders, opened[1:], strict=False):
            if part != other:
                break
            same += 1
        _close_below(opened, same)
        for deep in range(same, len(folders) + 1):
            path = "/".join(("", *folders[:deep]))
            inner = self._step(opened[-1][1], folders[deep - 1], path, make=False)
            opened.append((folders[deep - 1], inner))
        return opened[-1][1]

    def names(self, folder: str) -> list[str]:
        """What lies directly in a folder, sorted; nothing if there is no such folder."""
        try:
            with self.folder(folder) as here, os.scandir(here) as items:
                return sorted(item.name for item in items)
        except (FileNotFoundError, NotAFile):
            return []

    def folders(self, folder: str) -> list[str]:
        """The folders directly in a folder, sorted; links are none."""
        try:
            kinds = self.kinds(folder)
        except NotAFile:
            return []
        return [name for name, kind in kinds.items() if kind == FOLDER_KIND]

    def kinds(self, folder: str) -> dict[str, str]:
        """What lies directly in a folder, sorted, and what it is (``a folder``, ``a link``)."""
        modes: dict[str, int] = {}
        with (
            suppress(FileNotFoundError),
            self.folder(folder) as here,
            self._explained(folder),
            os.scandir(here) as items,
        ):
            for item in items:
                with suppress(FileNotFoundError):  # it is gone meanwhile; the others are not
                    modes[item.name] = item.stat(follow_symlinks=False).st_mode
        return {name: kind_of(mode) for name, mode in sorted(modes.items())}

    def walk(
        self, folder: str, unlisted: dict[str, ZooError] | None = None
    ) -> Iterator[tuple[str, os.stat_result]]:
        """All below a folder that is no folder itself, with what is known of it.

        Scratch of others that cannot be listed is left out. Whatever else cannot be listed, or
        looked at, is put into ``unlisted``, if it is given, with the reason.
        """
        try:
            with self.folder(folder) as here:
                yield from self._walk(folder, here, DEEPEST, unlisted)
        except FileNotFoundError:
            return
        except (Forbidden, NotAFile) as error:
            if unlisted is None:
                raise
            unlisted[folder] = error

    @contextmanager
    def staged(self) -> Iterator[tuple[BinaryIO, str]]:
        """A new file in scratch, and its name; removed at the end unless it got another one."""
        name = "/".join((STAGING, f"tmp{uuid.uuid4().hex[:8]}"))  # prunes know leftovers by that
        file = self.make(name)
        try:
            # The inner block closes the file first: a full disk may show only then.
            with disk_errors(self.root / STAGING), file:
                yield file, name
        finally:
            self.remove(name)

    def make(self, name: str) -> BinaryIO:
        """Make an empty file, for its owner alone until it is given other rights, and open it.

        Raises:
            FileExistsError: There is one.
        """
        above, _, last = name.rpartition("/")
        with self.folder(above, make=True) as folder, self._explained(name):
            return os.fdopen(os.open(last, NEW, 0o600, dir_fd=folder), "w+b")

    def fsync_file(self, file: BinaryIO) -> None:
        """Force the bytes of a new file to disk and make it read-only."""
        file.flush()
        # Before it gets its name: after a crash the name may be there, and lead to nothing.
        os.fsync(file.fileno())
        self.rights.give(file.fileno(), self.rights.file)

    def rename(self, name: str, target: str) -> bool:
        """Give a file the name ``target``, whatever file is there; True."""
        with self._both(name, target) as (source, last, folder, new):
            os.rename(last, new, src_dir_fd=source, dst_dir_fd=folder)
        return True

    def rename_first(self, name: str, target: str) -> bool:
        """Give a file the name ``target`` unless there is such a file; whether there was none.

        A hard link is the one step that POSIX and network file systems alike make exclusive.
        """
        try:
            with self._both(name, target) as (source, last, folder, new):
                os.link(last, new, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            if self.stat(target):
                return False
            return self.rename(name, target)  # in the place of a link, or of what is no file
        except FileNotFoundError:
            # Whoever published the same meanwhile may have cleared away what others had of it.
            if not self.stat(target):
                raise
            return False
        return True

    def create(self, name: str, data: bytes) -> None:
        """Make a file with its whole content, durably.

        Raises:
            FileExistsError: There is one.
        """
        with self.staged() as (file, staged):
            file.write(data)
            self.fsync_file(file)
            if not self.rename_first(staged, name):
                raise FileExistsError(name)
        self.fsync_folder(name.rpartition("/")[0])

    def put(self, name: str, data: bytes) -> None:
        """Write a file whole, in the place of one that may be there; it can be written again."""
        with self.staged() as (file, staged):
            file.write(data)
            self.fsync_file(file)
            self.rights.give(file.fileno(), self.rights.writable)
            self.rename(staged, name)
        self.fsync_folder(name.rpartition("/")[0])

    def touch(self, name: str, data: bytes = b"") -> None:
        """Write a file whole that need not last. On a full disk, where an empty one can be made
        still, it stays empty.
        """
        with self.staged() as (file, staged):
            self.rights.give(file.fileno(), self.rights.writable)
            with suppress(DiskFull), self._explained(name):
                os.write(file.fileno(), data)
            self.rename(staged, name)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody else on this machine in here; whoever is in here goes first.

        Raises:
            Conflict: Somebody is in here for long.
        """
        with self.folder("") as root:
            for pause in (*[0.02] * LOOKS, 0):
                try:
                    fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    if not pause:
                        raise Conflict(f"another process changes {self.root}; try again") from error
                    time.sleep(pause)
                except OSError:
                    break  # there are no locks in this file system
                else:
                    break
            yield

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        above, _, last = name.rpartition("/")
        with (
            suppress(FileNotFoundError),
            self.folder(above) as folder,
            self._explained(name),
        ):
            os.unlink(last, dir_fd=folder)

    def age(self, folder: str) -> float:
        """Seconds since a folder changed; 0 where it is none, or cannot be looked at."""
        try:
            with self.folder(folder) as here:
                return time.time() - os.fstat(here).st_mtime
        except (OSError, NotAFile, Forbidden):
            return 0

    def set_aside(self, name: str) -> None:
        """Move what lies where a file belongs, if it is a folder, to scratch, where it stays."""
        above, _, last = name.rpartition("/")
        with suppress(FileNotFoundError), self.folder(above) as folder, self._explained(name):
            if stat.S_ISDIR(os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode):
                self.rename(name, f"{STAGING}/aside-{last}-{uuid.uuid4().hex[:8]}")

    def remove_folder(self, name: str) -> bool:
        """Delete a folder if it is empty, and allowed; whether it was."""
        above, _, last = name.rpartition("/")
        try:
            with self.folder(above) as folder:
                os.rmdir(last, dir_fd=folder)
        except (OSError, NotAFile, Forbidden):
            return False
        return True

    def fsync_folder(self, folder: str) -> None:
        """Make the names in a folder durable, where the system can."""
        with suppress(OSError, Forbidden), self.folder(folder) as here:
            os.fsync(here)

    @cached_property
    def rights(self) -> Rights:
        """The rights of what is made here."""
        return Rights.of(self.root)

    def _open_folder(self, name: str, *, make: bool) -> int:
        here, path = os.open(self.root, FOLDER & ~os.O_NOFOLLOW), ""
        # Step by step: O_NOFOLLOW heeds the last part of a path only.
        for part in name.split("/") if name else ():
            path = f"{path}/{part}"
            try:
                inner = self._step(here, part, path, make=make)
            finally:
                os.close(here)
            here = inner
        return here

    def _step(self, here: int, part: str, path: str, *, make: bool) -> int:
        is_new = False
        try:
            return os.open(part, FOLDER, dir_fd=here)
        except FileNotFoundError:
            if not make:
                raise
        except OSError as error:
            if error.errno in (ENOTDIR, ELOOP):
                status = os.stat(part, dir_fd=here, follow_symlinks=False)
                raise NotAFile(
                    f"{self.root}{path}", FOLDER_KIND, kind_of(status.st_mode)
                ) from error
            raise
        with suppress(FileExistsError):  # somebody was faster
            os.mkdir(part, dir_fd=here)
            is_new = True
        inner = self._step(here, part, path, make=False)
        if is_new:
            self.rights.give(inner, self.rights.folder)
            os.fsync(here)  # whoever syncs a file in it relies on the folder's own name
        return inner

    def _walk(
        self, name: str, here: int, deeper: int, unlisted: dict[str, ZooError] | None
    ) -> Iterator[tuple[str, os.stat_result]]:
        with os.scandir(here) as entries:
            items = [item.name for item in entries]
        for item in items:
            inner, below = f"{name}/{item}" if name else item, None
            try:
                with self._explained(inner):
                    status = os.stat(item, dir_fd=here, follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        below = os.open(item, FOLDER, dir_fd=here)
            except FileNotFoundError:
                continue  # its writer has finished, or a prune deleted it, meanwhile
            except Forbidden as error:
                if inner.startswith(f"{STAGING}/"):
                    continue
                if unlisted is None:
                    raise
                unlisted[inner] = error
                continue
            if below is None:
                yield inner, status
                continue
            try:
                if deeper:
                    yield from self._walk(inner, below, deeper - 1, unlisted)
            finally:
                os.close(below)

    @contextmanager
    def _both(self, name: str, target: str) -> Iterator[tuple[int, str, int, str]]:
        above, _, last = name.rpartition("/")
        over, _, new = target.rpartition("/")
        with (
            self.folder(above) as source,
            self.folder(over, make=True) as folder,
            self._explained(target),
        ):
            yield source, last, folder, new

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, FileExistsError):
            raise
        except OSError as error:
            if error.errno in FULL:
                raise DiskFull(self.root / name) from error
            if error.errno in (EACCES, EPERM, EROFS):
                raise forbidden(self.root, name, error) from error
            if error.errno in (EISDIR, ENOTDIR, ENOTEMPTY):
                raise NotAFile(str(self.root / name), "a file", FOLDER_KIND) from error
            raise


def _close_below(opened: list[tuple[str, int]], left: int) -> None:
    while len(opened) > left:
        os.close(opened.pop()[1])
