"""Space: what a folder beside the store takes, such as that of a run or a cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DAY", "Space", "folders_in", "space_of"]

DAY = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class Space:
    """What is in a folder: its files, their bytes, and when something was written there last (the
    folder itself counts), as `time.time` has it.
    """

    files: int
    bytes: int
    at: float


def space_of(folder: Path) -> Space:
    """What a folder takes, with all that is below it; no links are followed. What cannot be read
    counts as nothing.
    """
    files, size, at = 0, 0, 0.0
    with suppress(OSError):
        at = folder.lstat().st_mtime
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # it is gone since
                status = os.lstat(os.path.join(parent, name))  # noqa: PTH118 - of thousands
                files, size, at = files + 1, size + status.st_size, max(at, status.st_mtime)
    return Space(files, size, at)


def folders_in(home: Path) -> Iterator[Path]:
    """The folders in ``home``, sorted; links, which lead to what is somebody's, are left out."""
    with suppress(OSError):  # there are none
        yield from sorted(
            each for each in home.iterdir() if each.is_dir() and not each.is_symlink()
        )
