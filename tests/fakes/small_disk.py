"""A small disk, a real one, where mounting is allowed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["Disk", "small_disk"]

PIECE = 64 * 1024


class Disk:
    """A small disk, and what fills it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ballast = root / "ballast"

    def fill(self, *, leave: int = 0) -> None:
        """Leave no more than so many bytes free."""
        with self.ballast.open("ab", buffering=0) as file:
            while (free := self.free() - leave) > 0:
                file.write(bytes(min(free, PIECE)))

    def free(self) -> int:
        """Bytes that are free."""
        stat = os.statvfs(self.root)
        return stat.f_bavail * stat.f_frsize

    def relieve(self) -> None:
        """Take away what fills it."""
        self.ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(root: Path, size: int) -> Iterator[Disk]:
    """A new disk of ``size`` bytes at ``root``; the test is skipped where none can be mounted."""
    root.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(root)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"no disk can be mounted: {done.stderr.strip()}")
    try:
        yield Disk(root)
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)
