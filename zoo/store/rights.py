"""Rights: what is made in a store is for whoever may use the store's root."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EACCES, EROFS
from pathlib import Path
from shlex import quote
from typing import Self

from zoo.errors import Forbidden

__all__ = ["Rights", "check_writable", "for_all_of", "forbidden", "make_root"]

READABLE = "what is in it can be read all the same: zoo search, show, predict, verify, pull --from"
"""What still works in a store that cannot be written to."""


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of what is made below a folder.

    Attributes:
        owner: Who has it; -1 for whoever makes it.
        group: Whose it is besides.
        folder: The mode of folders.
        file: That of files, which are never modified.
        writable: That of files that are written again.
    """

    owner: int
    group: int
    folder: int
    file: int
    writable: int

    @classmethod
    def of(cls, root: Path) -> Self:
        """Those that the mode of ``root`` says.

        The sticky bit is not taken over: it would keep each from clearing up after the others.
        """
        status = root.stat()
        mode = status.st_mode & 0o777
        # Below a folder that a group may write to, all must be that group's, whoever makes it.
        shared = status.st_mode & stat.S_ISGID or mode & stat.S_IWGRP
        return cls(
            # Who works for somebody else, as root does in a container, leaves him his files.
            owner=status.st_uid if os.geteuid() == 0 else -1,
            group=status.st_gid,
            folder=mode | stat.S_IRWXU | (stat.S_ISGID if shared else 0),
            file=mode & 0o444 | stat.S_IRUSR,
            writable=mode & 0o666 | stat.S_IRUSR | stat.S_IWUSR,
        )

    def give(self, handle: int, mode: int) -> None:
        """Give these rights to an open file or folder, as far as the file system has any."""
        status = os.fstat(handle)
        if status.st_gid != self.group or self.owner not in (-1, status.st_uid):
            with suppress(PermissionError):  # of a group that one is not in
                os.fchown(handle, self.owner, self.group)
        with suppress(PermissionError):
            os.fchmod(handle, mode)


@contextmanager
def for_all_of(root: Path, *folders: str) -> Iterator[None]:
    """What this process makes meanwhile is for whoever may use ``root``.

    For what lies beside a store, and is written by libraries of all kinds. It is done by the umask,
    which is the whole process's. ``folders`` of ``root`` are made with its group, which the system
    hands on to all that is made below them.

    Raises:
        Forbidden: The rights of something below ``root`` do not allow what was done.
    """
    rights = Rights.of(root)
    before = os.umask(0o777 & ~rights.folder)
    try:
        for name in folders:
            _make_shared(root / name, rights)
        yield
    except PermissionError as error:
        path = Path(os.fsdecode(error.filename or ""))
        if not path.is_relative_to(root):
            raise
        raise forbidden(root, path.relative_to(root).as_posix(), error) from error
    finally:
        os.umask(before)


def _make_shared(folder: Path, rights: Rights) -> None:
    with suppress(FileExistsError):  # a link will do
        folder.mkdir()
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            rights.give(handle, rights.folder)
        finally:
            os.close(handle)


def make_root(root: Path) -> None:
    """Make the folder of a new store. In a folder that a group shares, the group shares it, too.

    Raises:
        Forbidden: The folder above does not allow it.
    """
    if root.is_dir():
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
    except PermissionError as error:
        raise Forbidden(root, f"cannot be made: {_shown(root.parent)}", "") from error
    above = root.parent.stat()
    if above.st_mode & stat.S_ISGID and above.st_mode & stat.S_IWGRP:
        with suppress(PermissionError):
            root.chmod(above.st_mode & 0o2777)


def check_writable(root: Path) -> None:
    """Raise `Forbidden` where nothing can be made in the store ``root``."""
    if not _allows(root, os.W_OK | os.X_OK):
        mounted = os.statvfs(root).f_flag & os.ST_RDONLY
        raise forbidden(root, "", OSError(EROFS if mounted else EACCES, ""))


def forbidden(root: Path, name: str, error: OSError) -> Forbidden:
    """Why the file or folder ``name`` of the store ``root`` could not be used; what mends it."""
    if error.errno == EROFS:
        why = f"lies on a file system that is mounted read-only; {_shown(root)}"
        return Forbidden(root, why, READABLE)
    folder = path = root
    for part in ("", *filter(None, name.split("/"))):
        path = path / part
        try:
            mode = path.lstat().st_mode
        except OSError:
            break
        is_folder = stat.S_ISDIR(mode)
        if not _allows(path, os.R_OK | (os.X_OK if is_folder else 0)):
            return Forbidden(path, f"cannot be read: {_shown(path)}", _mend(root, path, "g+rX"))
        folder = path if is_folder else folder
    if not _allows(folder, os.W_OK | os.X_OK):
        if not _allows(root, os.W_OK | os.X_OK):
            folder = root  # what is meant, whatever folder in it came first
        mend = _mend(root, folder, "g+rwxs", only="-type d ")
        why = f"cannot be written to: {_shown(folder)}"
        return Forbidden(folder, why, f"{READABLE}\n{mend}")
    return Forbidden(
        path,
        f"cannot be replaced or deleted: {_shown(path)}, and its folder is sticky (t)",
        f"{_owner(path)} can delete it; or {_owner(folder)} allows it to all: "
        f"chmod -t {quote(str(folder))}",
    )


def _allows(path: Path, what: int) -> bool:
    return os.access(path, what, effective_ids=os.access in os.supports_effective_ids)


def _shown(path: Path) -> str:
    """Whose it is, and who may do what with it."""
    try:
        status = path.stat()
    except OSError:
        return "its folder cannot be looked into"
    group = _name_of_group(status.st_gid)
    return f"it belongs to {_owner(path)}, group {group}, {stat.filemode(status.st_mode)}"


def _mend(root: Path, path: Path, change: str, *, only: str = "") -> str:
    """What the owner of ``path`` can do, so that the group of ``root`` can work there."""
    owner, group = _owner(path), root.stat().st_gid
    mine = f"find {quote(str(root))} -user {owner} {only}-exec"
    regroup = (
        "" if path.stat().st_gid == group else f"{mine} chgrp {_name_of_group(group)} {{}} +; "
    )
    member = group in (os.getegid(), *os.getgroups())
    join = "" if member else f"\nand you have to be in the group {_name_of_group(group)}"
    return f"{owner} can allow it to the group: {regroup}{mine} chmod {change} {{}} +{join}"


def _owner(path: Path) -> str:
    import pwd

    uid = path.lstat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _name_of_group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
