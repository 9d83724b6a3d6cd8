"""Recovery: open the registry of a zoo in its file, whatever state that is in.

It is made from the store where it is missing, set aside and made again where it is damaged, and
read without a trace where it cannot be written. Where none can be kept, one is made for this
process alone.
"""

from __future__ import annotations

import logging
import os
import shutil
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from tempfile import mkdtemp

from zoo.errors import DiskFull, Forbidden, Unavailable, ZooError
from zoo.registry import file
from zoo.registry.damage import MET, damage
from zoo.registry.engine import open_engine, reading
from zoo.registry.engines import sqlite
from zoo.registry.migrate import check_known, is_newer, revision
from zoo.registry.registry import Registry

__all__ = ["open_kept", "set_newer_aside"]

LOG = logging.getLogger("zoo")
Scratch = Callable[[], AbstractContextManager[Path]]
Alone = Callable[[], AbstractContextManager[None]]


def open_kept(
    path: Path, scratch: Scratch, fill: Callable[[Registry], None], alone: Alone
) -> Registry:
    """Open the registry in ``path``.

    Args:
        path: The file, which may not be there.
        scratch: Gives a folder on the same disk, to make one in.
        fill: Puts all in that the store holds.
        alone: Locks the folder of ``path``. The file itself must not be locked, nor opened by
            anybody but SQLite: to close it again would end SQLite's own locks.

    Raises:
        Unsupported: A newer program, or another one, made the database.
        DiskFull: There is none yet, and no space for it.
        Conflict: Others have the folder locked for long.
    """
    return _Kept(path, scratch, fill, alone).open()


def set_newer_aside(path: Path, alone: Alone) -> Path | None:
    """Set the registry in ``path`` aside if a newer program made it: where it is now, else None.

    Nobody but who asks for an index that is made again wants that: the newer program can read it.
    """
    with alone():
        if not path.is_file() or file.obstacle(path):
            return None
        engine = open_engine(sqlite.url_of(path, existing=True))
        try:
            with reading(engine) as connection:
                newer = is_newer(revision(connection))
        except (*MET, ZooError):
            return None  # whoever opens it tells what is wrong
        finally:
            engine.dispose()
        return file.set_aside(path, "newer") if newer else None


class _Kept:
    def __init__(
        self, path: Path, scratch: Scratch, fill: Callable[[Registry], None], alone: Alone
    ) -> None:
        self.path, self.scratch, self.fill, self.alone = path, scratch, fill, alone
        self.opened: os.stat_result | None = None
        self.given_up = False

    def open(self) -> Registry:
        registry = self._open_sound()
        registry.renewal = self.renew
        return registry

    def renew(self) -> Registry | None:
        """Another registry in the place of one that failed; None if nothing is wrong with it."""
        return self._open_sound() if self._replaced() else None

    def _open_sound(self) -> Registry:
        try:
            return self._open()
        except (*MET, FileNotFoundError):  # damaged; or somebody set it aside at this moment
            if not self._replaced():
                raise
        return self._open()

    def _open(self) -> Registry:
        obstacle: ZooError | None = file.obstacle(self.path)
        if not self._is_made():
            if obstacle:
                return self._passing(obstacle)
            try:
                self._make()
            except (Forbidden, PermissionError) as error:
                why = f"the index cannot be written: {error}"
                return self._passing(Unavailable(str(self.path), why))
        self.opened = self.path.stat()
        if obstacle is None:
            file.share(self.path, self.path.parent)
            try:
                return Registry.open(self.path, existing=True)
            except DiskFull as full:
                obstacle = full
        found = None
        with suppress(Unavailable):  # we may not even read it
            found = None if self.given_up else Registry.open_read_only(self.path, obstacle)
        if found is None:
            LOG.warning(
                "%s cannot be used or replaced: what the store holds is found all the "
                "same, what sources and remotes list is not",
                self.path,
            )
        return found or self._passing(obstacle)

    def _replaced(self) -> bool:
        """Set the file aside if it is damaged; whether there is now another way to open one."""
        with self.alone():
            if not self.path.exists():
                return True  # somebody else was faster
            problem = self._damage()
            if problem is None and file.obstacle(self.path):
                return True  # who only reads it may have met somebody who wrote to it just then
            if problem is None:
                return self.opened is None or not os.path.samestat(self.opened, self.path.stat())
            if file.obstacle(self.path):
                self.given_up, before = True, self.given_up
                return not before
            aside = file.set_aside(self.path)
        self._make()
        LOG.warning(
            "%s was damaged (%s) and is made again from the store; zoo index and zoo fetch "
            "bring back what sources and remotes list; the old one is kept: %s",
            self.path,
            problem,
            aside,
        )
        return True

    def _damage(self) -> str | None:
        engine = open_engine(sqlite.url_of(self.path, existing=True))
        if file.obstacle(self.path):
            engine = sqlite.create_read_only(self.path)
        try:
            if problem := damage(engine):
                return problem
            with reading(engine) as connection:
                check_known(connection)  # what failed may be new to this program only
            return None
        finally:
            engine.dispose()

    def _is_made(self) -> bool:
        return self.path.is_file() and self.path.stat().st_size > 0

    def _make(self) -> None:
        # Apart, so that an index that was cut short is never taken for the whole.
        with self.scratch() as scratch:
            whole = scratch / self.path.name
            with Registry.open(whole) as registry:
                self.fill(registry)
            file.share(whole, self.path.parent, fresh=True)
            with self.alone():
                if not self._is_made():  # else another process was faster, and may have it open
                    self._put(whole)

    def _put(self, whole: Path) -> None:
        if self.path.is_dir():
            file.set_aside(self.path)
        for stale in (self.path, *sqlite.sides(self.path)):
            # An empty file; and what else SQLite would replay into the new one.
            stale.unlink(missing_ok=True)
        with suppress(FileExistsError):  # the file system has no locks, and somebody was faster
            os.link(whole, self.path)

    def _passing(self, obstacle: ZooError) -> Registry:
        folder = Path(mkdtemp(prefix="zoo-"))
        registry = Registry.open(folder / self.path.name)
        weakref.finalize(registry, shutil.rmtree, folder, ignore_errors=True)
        self.fill(registry)
        registry.obstacle = obstacle
        return registry
