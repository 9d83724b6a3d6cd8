"""Files of the user's that appear whole or not at all; `zoo.store.disk` has those of a store."""

from __future__ import annotations

import glob
import os
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from zoo.errors import disk_errors

__all__ = ["write_whole"]

LEFT_SECONDS = 24 * 3600
"""What is older than that, its writer has left."""


def write_whole(target: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """Write a file of the user's: staged beside ``target``, then renamed over it.

    What a killed process has left of the same file is deleted after a day.

    Raises:
        DiskFull: There is no space for it; ``target`` is as it was, and no folder was made.
    """
    path = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    lacking = [folder for folder in target.parents if not folder.exists()]
    try:
        # The inner block closes the file first: a full disk may show only then.
        with disk_errors(target.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                # Before the rename: after a crash a name may otherwise lead to an empty file.
                os.fsync(file.fileno())
        path.replace(target)
    except BaseException:
        with suppress(OSError):
            path.unlink(missing_ok=True)
            for folder in lacking:  # the innermost first; not where somebody has used it since
                folder.rmdir()
        raise
    _clear(target)


def _clear(target: Path) -> None:
    for path in target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-f]' * 8}"):
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > LEFT_SECONDS:
                path.unlink()
