"""Uploads and prunes see each other, without locks.

Whoever writes announces it by a file in ``tmp/uploads/`` and then looks for a prune; whoever prunes
leaves a file ``tmp/prune-…`` and then looks for uploads and other prunes. Each sets a sign of its
own before it looks for the others', so at least one of two sees the other and gives way.

A sign says which process set it, and is dated anew each minute. It counts as long as that process
may be alive: on the same machine one can look, elsewhere the age of the last date decides
(`zoo.domain.owner`). Ages are by the clock that dates the files, which is read off one's own sign.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from zoo import config
from zoo.domain.limits import SIGN_BYTES
from zoo.domain.owner import Owner, is_stale, renewing, under_way
from zoo.errors import Conflict, Forbidden, ZooError
from zoo.store.disk import DEEPEST, STAGING, Disk

__all__ = ["UPLOADS", "pruning", "uploading"]

UPLOADS = f"{STAGING}/uploads"
SCRATCH_SECONDS = 24 * 3600
"""An empty scratch folder may be in use for so long."""


@contextmanager
def uploading(disk: Disk) -> Iterator[None]:
    """Announce that objects, and what refers to them, are being written.

    Raises:
        Conflict: A prune is under way; nothing may be written that relies on what it may delete.
    """
    with _sign(disk, f"{UPLOADS}/{uuid.uuid4().hex}") as sign:
        for text in _alive(disk, _prunes(disk), sign, "a prune of this store is"):
            raise Conflict(text)
        yield


@contextmanager
def pruning(disk: Disk) -> Iterator[None]:
    """Announce that things are about to be deleted.

    Raises:
        Conflict: Somebody is writing, or pruning; nothing may be deleted.
    """
    # A sign that two prunes shared would be gone when the first of them is done.
    with _sign(disk, f"{STAGING}/prune-{uuid.uuid4().hex}") as sign:
        writers = [f"{UPLOADS}/{name}" for name in disk.names(UPLOADS)]
        for text in _alive(disk, _prunes(disk), sign, "another prune of this store is"):
            raise Conflict(text)
        for text in _alive(disk, writers, sign, "an upload to this store is"):
            raise Conflict(text)
        yield
        _tidy(disk, STAGING, DEEPEST)


@contextmanager
def _sign(disk: Disk, name: str) -> Iterator[str]:
    try:
        disk.touch(name, Owner.here(config.author()).to_bytes())
    except FileNotFoundError as error:
        # A prune without grace has deleted the sign before it had its name.
        raise Conflict(f"{disk.root}/{STAGING} was cleared meanwhile; try again") from error
    try:
        with renewing(partial(disk.renew, name)):
            yield name
    finally:
        disk.remove(name)


def _prunes(disk: Disk) -> list[str]:
    return [f"{STAGING}/{name}" for name in disk.names(STAGING) if name.startswith("prune")]


def _alive(disk: Disk, signs: list[str], own: str, what: str) -> Iterator[str]:
    """What stands in the way: the signs of others that count."""
    mine = disk.stat(own)
    now = mine.st_mtime if mine else time.time()
    for name in signs:
        found = disk.stat(name)
        if name == own or found is None:
            continue
        age = now - found.st_mtime
        owner = _owner(disk, name)
        if not is_stale(age, owner) and not (owner and owner.has_ended):
            yield under_way(what, str(disk.root / name), owner, age)


def _owner(disk: Disk, name: str) -> Owner | None:
    try:
        return Owner.from_bytes(disk.read(name, SIGN_BYTES))
    except (ZooError, OSError):  # it is gone, or is none of ours: its age decides
        return None


def _tidy(disk: Disk, folder: str, deeper: int) -> None:
    """Remove the empty scratch folders of processes that were killed."""
    try:
        names = disk.folders(folder)
    except Forbidden:
        return  # somebody else's
    for name in names:
        inner = f"{folder}/{name}"
        if inner == UPLOADS or not deeper:
            continue
        _tidy(disk, inner, deeper - 1)
        if disk.age(inner) > SCRATCH_SECONDS:
            disk.remove_folder(inner)
