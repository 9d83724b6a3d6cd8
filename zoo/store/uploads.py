"""Uploads and prunes see each other, without locks.

Whoever writes announces it by a file in ``tmp/uploads/`` and then looks for a prune; whoever prunes
leaves a file ``tmp/prune-…`` and then looks for uploads and other prunes. Each sets a sign of its
own before it looks for the others', so at least one of two sees the other and gives way. A sign
that a killed process left counts for a day.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zoo.errors import Conflict, disk_errors

__all__ = ["STALE_SECONDS", "UPLOADS", "pruning", "uploading"]

UPLOADS = "uploads"
STALE_SECONDS = 24 * 3600


@contextmanager
def uploading(staging: Path) -> Iterator[None]:
    """Announce that objects, and what refers to them, are being written.

    Raises:
        Conflict: A prune is under way; nothing may be written that relies on what it may delete.
    """
    sign = staging / UPLOADS / uuid.uuid4().hex
    with disk_errors(sign):
        sign.parent.mkdir(parents=True, exist_ok=True)
        sign.touch()
    try:
        if _prunes(staging):
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
    sign = staging / f"prune-{uuid.uuid4().hex}"
    with disk_errors(sign):
        sign.touch()
    try:
        # A sign that two prunes shared would be gone when the first of them is done.
        if _prunes(staging) > {sign}:
            raise Conflict("another prune of this store is under way")
        writers = [path for path in (staging / UPLOADS).glob("*") if _alive(path)]
        if writers:
            raise Conflict(f"{len(writers)} uploads to this store are under way; try again later")
        yield
        _tidy(staging)
    finally:
        sign.unlink(missing_ok=True)


def _tidy(staging: Path) -> None:
    """Remove the empty scratch folders of processes that were killed."""
    for folder in sorted(staging.rglob("*/"), reverse=True):
        if folder != staging / UPLOADS and not _alive(folder):
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _prunes(staging: Path) -> set[Path]:
    return {path for path in staging.glob("prune*") if _alive(path)}


def _alive(sign: Path) -> bool:
    try:
        return time.time() - sign.stat().st_mtime < STALE_SECONDS
    except FileNotFoundError:
        return False
