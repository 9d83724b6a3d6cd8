"""Uploads and prunes see each other, without locks.

Whoever writes announces it by a file in ``tmp/uploads/`` and then looks for a prune; whoever prunes
leaves ``tmp/prune`` and then looks for uploads. Each sets its own sign before it looks for the
other's, so at least one of two sees the other and gives way. A sign that a killed process left
counts for a day.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import Conflict, disk_errors

__all__ = ["STALE_SECONDS", "pruning", "uploading"]

STALE_SECONDS = 24 * 3600


@contextmanager
def uploading(staging: Path) -> Iterator[None]:
    """Announce that objects, and what refers to them, are being written.

    Raises:
        Conflict: A prune is under way; nothing may be written that relies on what it may delete.
    """
    sign = staging / "uploads" / uuid.uuid4().hex
    with disk_errors(sign):
        sign.parent.mkdir(parents=True, exist_ok=True)
        sign.touch()
    try:
        if _alive(staging / "prune"):
            raise Conflict(
                "a prune of this store is under way; run the same command again after it"
            )
        yield
    finally:
        sign.unlink(missing_ok=True)


@contextmanager
def pruning(staging: Path) -> Iterator[None]:
    """Announce that things are about to be deleted.

    Raises:
        Conflict: Somebody is writing, or pruning; nothing may be deleted.
    """
    sign = staging / "prune"
    if _alive(sign):
        raise Conflict("another prune of this store is under way")
    with disk_errors(sign):
        sign.touch()
        os.utime(sign)
    try:
        uploads = staging / "uploads"
        writers = [path for path in uploads.glob("*") if _alive(path)]
        if writers:
            raise Conflict(f"{len(writers)} uploads to this store are under way; try again later")
        yield
    finally:
        sign.unlink(missing_ok=True)


def _alive(sign: Path) -> bool:
    try:
        return time.time() - sign.stat().st_mtime < STALE_SECONDS
    except FileNotFoundError:
        return False
