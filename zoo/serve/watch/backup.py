"""Backup: a copy of a zoo that is served meanwhile, which is a zoo, too.

What is copied first must not need what is copied before it was made: databases come before the
names that they know, names before what they lead to. Whoever writes goes the other way. A zoo in a
bucket, or one that becomes that, has its databases on a server: they are copied before, by others.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from zoo import config
from zoo.domain.limits import JSON_FILE_BYTES
from zoo.errors import InvalidOption, disk_errors
from zoo.machine import bucket
from zoo.serve.keep.reserve import FILE as RESERVE
from zoo.serve.watch.copying import (
    FILES,
    FOLDERS,
    UNFINISHED,
    check_names,
    check_place,
    copy_store,
    named,
    tell_damaged,
)
from zoo.serve.who.seals import FILE as KEY
from zoo.store.cached import CachedBackend
from zoo.store.disk import STAGING
from zoo.store.folder import FolderBackend
from zoo.store.regular import read_regular
from zoo.store.sent import FOLDER as SENT
from zoo.workspace import Workspace

__all__ = ["FILE", "back_up", "copy_to_bucket"]

FILE = "backup.txt"
"""What tells a backup, and of which zoo it is."""
LEFT_OUT = {STAGING, SENT, "cache", FILE, RESERVE}
"""What is not whole yet, or can be made again."""
DATABASE = ".db"


def back_up(workspace: Workspace, to: Path) -> tuple[int, int]:
    """Copy a zoo into a folder, of which files that are there already are left as they are; how
    many files were copied, and their bytes. Nothing in the folder is deleted.

    Of a zoo in a bucket, which is asked past what is kept of it here, the key goes along.

    Raises:
        InvalidOption: The folder has something else, or there is no key here.
        Conflict: A prune is under way, or a name of the copy went on by itself.
        Corrupt: Files of the zoo are damaged, and were not copied; all else was.
        DiskFull: No space left; what was copied stays.
    """
    root, to = workspace.root.resolve(), to.resolve()
    if to.is_relative_to(root) or root.is_relative_to(to):
        raise InvalidOption(f"{to} and the zoo in {root} are within each other")
    backend, target, damaged = workspace.store.backend, FolderBackend(to), list[str]()
    shared = isinstance(backend, CachedBackend)
    source = backend.shared if isinstance(backend, CachedBackend) else backend
    mark, of = to / FILE, str(source if shared else root)
    there = read_regular(mark, JSON_FILE_BYTES).decode(errors="replace") if mark.exists() else ""
    if there != f"{of}\n" and to.exists() and any(to.iterdir()):
        raise InvalidOption(f"{to} has something else: name a folder that is empty or not there")
    if shared and not (root / KEY).exists():
        raise InvalidOption(
            f"{root} has no {KEY}, which belongs to a backup of {of}: it has served nothing yet",
            hint=f"back up from the folder of a machine that serves {of}, or copy its {KEY} here",
        )
    with disk_errors(to), workspace.store.upload():  # no prune deletes what is to be copied
        check_names(source, target)
        to.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark.write_text(f"{of}\n")
        databases = sorted(path for path in root.iterdir() if path.name.endswith(DATABASE))
        sizes = [] if shared else _copied_all(root, to, databases)
        sizes += copy_store(source, target, damaged)
        sizes += _copied_all(root, to, [root / KEY] if shared else _rest(root))
        os.sync()
    tell_damaged(source, target, damaged)
    return len(sizes), sum(sizes)


def copy_to_bucket(workspace: Workspace, to: str) -> tuple[int, int]:
    """Copy a zoo whose databases are on a server into a bucket where nothing is yet, or where a
    copy of it was cut off; otherwise as `back_up`. The key does not go there.

    Raises:
        InvalidOption: The bucket has something else, or the zoo has its accounts in its folder.
        Conflict: A prune is under way, or a name went on in the bucket.
        Corrupt: Files of the zoo are damaged, and were not copied; all else was.
        Unavailable: The bucket does not answer.
    """
    if not config.database():
        raise InvalidOption(
            f"the accounts of {workspace.store} would not go to {to}, which has them in PostgreSQL",
            hint="set ZOO_DB to where they are: export ZOO_DB=postgresql+psycopg://user@host/zoo",
        )
    backend, target = workspace.store.backend, bucket(to, create=True)
    source = backend.shared if isinstance(backend, CachedBackend) else backend
    check_place(source, target)
    with workspace.store.upload():
        check_names(source, target)
        target.put(UNFINISHED, [named(source)])
        sizes = copy_store(source, target, damaged := list[str]())
        tell_damaged(source, target, damaged)  # once that is mended, the same copy resumes
        target.delete(UNFINISHED)
    return len(sizes), sum(sizes)


def _rest(root: Path) -> Iterator[Path]:
    """What is neither the store's nor a database."""
    names = {path.name for path in root.iterdir()} - {*LEFT_OUT, *FOLDERS, *FILES}
    for path in sorted(root / name for name in names):
        for folder, folders, files in os.walk(path):
            folders.sort()
            yield from (Path(folder, each) for each in sorted(files))
        if path.is_file() and DATABASE not in path.name:  # nor its log, which the copy has
            yield path


def _copied_all(root: Path, to: Path, paths: Iterable[Path]) -> list[int]:
    sizes = (_copied(path, to / path.relative_to(root)) for path in paths)
    return [size for size in sizes if size is not None]


def _copied(path: Path, to: Path) -> int | None:
    """Copy a file unless it is there; its size, None if it was not copied."""
    with suppress(FileNotFoundError):  # it is gone by now
        status = path.lstat()
        there = to.stat() if to.exists() else None
        same = there and (there.st_size, there.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
        if same or path.is_symlink():
            return None
        to.parent.mkdir(parents=True, exist_ok=True)
        new = to.with_name(f".{to.name}.new")
        if path.name.endswith(DATABASE):
            _copy_database(path, new)
        else:
            shutil.copy2(path, new)
        new.replace(to)
        return status.st_size
    return None


def _copy_database(path: Path, to: Path) -> None:
    """Copy what a database has now, whoever writes to it."""
    to.unlink(missing_ok=True)
    to.touch(0o600)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(to)) as copy:
        source.backup(copy)
