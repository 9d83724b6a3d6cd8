"""Backup: a copy of a zoo that is served meanwhile, which is a zoo, too.

What is copied first must not need what is copied before it was made: databases come before the
names that they know, names before what they lead to. Whoever writes goes the other way. A zoo in a
bucket, or one that becomes that, has its databases on a server: they are copied before, by others.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from zoo import config
from zoo.errors import InvalidOption, disk_errors
from zoo.machine import bucket
from zoo.serve.watch.copying import FIRST, UNFINISHED, check_place, copy_store, named
from zoo.serve.who.seals import FILE as KEY
from zoo.store.cached import CachedBackend
from zoo.store.disk import STAGING
from zoo.store.folder import FolderBackend
from zoo.store.sent import FOLDER as SENT
from zoo.workspace import Workspace

__all__ = ["FILE", "back_up", "copy_to_bucket"]

FILE = "backup.txt"
"""What tells a backup, and of which zoo it is."""
LEFT_OUT = {STAGING, SENT, "cache", FILE}
"""What is not whole yet, or can be made again."""
DATABASE = ".db"


def back_up(workspace: Workspace, to: Path) -> tuple[int, int]:
    """Copy a zoo into a folder, of which files that are there already are left as they are; how
    many files were copied, and their bytes. Nothing in the folder is deleted.

    Of a zoo in a bucket, which is asked past what is kept of it here, the key goes along.

    Raises:
        InvalidOption: The folder has something else, or there is no key here.
        Conflict: A prune is under way.
        DiskFull: No space left; what was copied stays.
    """
    root, to = workspace.root.resolve(), to.resolve()
    if to.is_relative_to(root) or root.is_relative_to(to):
        raise InvalidOption(f"{to} and the zoo in {root} are within each other")
    shared = workspace.store.backend
    of = str(shared) if isinstance(shared, CachedBackend) else str(root)
    mark, sizes = to / FILE, list[int]()
    there = mark.read_text() if mark.exists() else ""
    if there != f"{of}\n" and to.exists() and any(to.iterdir()):
        raise InvalidOption(f"{to} has something else: name a folder that is empty or not there")
    if isinstance(shared, CachedBackend) and not (root / KEY).exists():
        raise InvalidOption(
            f"{root} has no {KEY}, which belongs to a backup of {of}: it has served nothing yet",
            hint=f"back up from the folder of a machine that serves {of}, or copy its {KEY} here",
        )
    with disk_errors(to), workspace.store.upload():  # no prune deletes what is to be copied
        to.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark.write_text(f"{of}\n")
        if isinstance(shared, CachedBackend):
            sizes += copy_store(shared.shared, FolderBackend(to))
        for path in [root / KEY] if isinstance(shared, CachedBackend) else _in_order(root):
            if (count := _copied(path, to / path.relative_to(root))) is not None:
                sizes.append(count)
        os.sync()
    return len(sizes), sum(sizes)


def copy_to_bucket(workspace: Workspace, to: str) -> tuple[int, int]:
    """Copy a zoo whose databases are on a server into a bucket where nothing is yet, or where a
    copy of it was cut off; otherwise as `back_up`. The key does not go there.

    Raises:
        InvalidOption: The bucket has something else, or the zoo has its accounts in its folder.
        Conflict: A prune is under way.
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
        target.put(UNFINISHED, [named(source)])
        sizes = copy_store(source, target)
        target.delete(UNFINISHED)
    return len(sizes), sum(sizes)


def _in_order(root: Path) -> Iterator[Path]:
    names = {path.name for path in root.iterdir()} - LEFT_OUT
    yield from sorted(root / name for name in names if name.endswith(DATABASE))
    for name in (*FIRST, *sorted(names - {*FIRST})):
        path = root / name
        for folder, folders, files in os.walk(path):
            folders.sort()
            yield from (Path(folder, each) for each in sorted(files))
        if path.is_file() and DATABASE not in name:  # nor its log, which the copy has
            yield path


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
