"""Packages: what is read of them is kept until a folder of packages changes.

To read the metadata of a distribution takes 3 ms, and a fine-tune asks for 20. A package that is
installed while this process runs, as in a notebook, is found.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path

__all__ = ["State", "named", "state", "version"]

State = tuple[tuple[str, int, int, int], ...]
SETTLED = 2_000_000_000
"""Nanoseconds after which a folder that has not changed is as its time says."""


def state() -> State | None:
    """The folders of packages, and when something was last installed or removed there. None while
    that is so new that an installer may not have written all yet.
    """
    folders = []
    for entry in sys.path:
        with suppress(OSError):  # sys.path may name what is not there
            status = Path(entry).stat()
            folders.append((entry, status.st_dev, status.st_ino, status.st_mtime_ns))
    if any(time.time_ns() - changed < SETTLED for *_, changed in folders):
        return None
    return tuple(folders)


def version(package: str) -> str:
    """The version of a distribution; raises `PackageNotFoundError` if there is none."""
    folders = state()
    return metadata.version(package) if folders is None else _version(package, folders)


@lru_cache(maxsize=128)
def named(distribution: metadata.Distribution) -> tuple[str, str]:
    """The name and version of a distribution."""
    known = distribution.metadata
    return known["Name"], known["Version"]


@lru_cache(maxsize=128)
def _version(package: str, _: State) -> str:
    return metadata.version(package)
