"""Free memory: what this process may still take, of the machine's and of its control group's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

__all__ = ["free_memory"]

GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
"""Where Linux says which groups a process is in."""
NEW = ("memory.max", "memory.current", "inactive_file")
OLD = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""Of the second and of the first version: the limit, what is taken, and in ``memory.stat`` what of
that are pages of files, which go when somebody needs room."""
READ_BYTES = 1 << 16


def free_memory() -> int:
    """Bytes that are free for this process. In a container or a job that may be few of the
    machine's; who takes more is killed.
    """
    return min([int(psutil.virtual_memory().available), *_left_in_groups()])


def _left_in_groups() -> Iterator[int]:
    for line in _read(OWN).splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if "memory" in controllers.split(","):
            root, names = GROUPS / "memory", OLD
        elif not controllers:
            root, names = GROUPS, NEW
        else:
            continue
        here = root / path.strip("/")  # not there where a container shows its own group as root
        for folder in (here, *here.parents):
            if folder.is_relative_to(root):
                yield from _left_in(folder, *names)


def _left_in(folder: Path, limit: str, taken: str, cached: str) -> Iterator[int]:
    with suppress(ValueError):  # it has no limit: "max", or no file
        most, used = int(_read(folder / limit)), int(_read(folder / taken))
        stat = dict(line.partition(" ")[::2] for line in _read(folder / "memory.stat").splitlines())
        yield max(most - max(used - int(stat.get(cached, 0)), 0), 0)


def _read(path: Path) -> str:
    with suppress(OSError), path.open("rb") as file:
        return file.read(READ_BYTES).decode(errors="replace")
    return ""
