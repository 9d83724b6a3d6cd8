"""Packages: their versions, read again only when a folder of packages has changed.

Each reading parses the metadata of a distribution, which takes 3 ms, and a fine-tune asks for 20. A
package that is installed while this process runs, as in a notebook, is found.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib import metadata

__all__ = ["named", "version"]

State = tuple[tuple[str, int], ...]


def version(package: str) -> str:
    """The version of a distribution; raises `PackageNotFoundError` if there is none."""
    return _version(package, _state())


@lru_cache(maxsize=128)
def named(distribution: metadata.Distribution) -> tuple[str, str]:
    """The name and version of a distribution."""
    known = distribution.metadata
    return known["Name"], known["Version"]


def _state() -> State:
    """The folders of packages, and when something was last installed or removed there."""
    return tuple((folder, _changed(folder)) for folder in sys.path)


def _changed(folder: str) -> int:
    try:
        return os.stat(folder or ".").st_mtime_ns  # noqa: PTH116 - asked for each time
    except OSError:  # sys.path may name what is not there
        return 0


@lru_cache(maxsize=128)
def _version(package: str, _: State) -> str:
    return metadata.version(package)
