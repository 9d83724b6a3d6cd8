"""Reported runs: what other machines have told of their runs, each in a folder of its own.

What they say was checked before it comes here. One at a time changes a run, of all processes that
serve the zoo: else lines that two of them write would be within each other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path

from blake3 import blake3

from zoo.domain.limits import JSON_FILE_BYTES, LEFT_BYTES, REPORTED_LINES_BYTES
from zoo.domain.plain import Json
from zoo.errors import disk_errors
from zoo.lookup.reported import HEARD, ID, REPORTED
from zoo.lookup.runs import METRICS, RUN
from zoo.serve.keep.alone import alone_in
from zoo.store.disk import Disk

__all__ = ["ReportedRun", "ReportedRuns"]


class ReportedRuns:
    """The runs that were reported to the server of a zoo."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def count(self, namespace: str) -> int:
        """How many there are of the names of a namespace."""
        return len(self._disk.folders(f"{REPORTED}/{namespace}"))

    def of(self, namespace: str, run: str) -> ReportedRun:
        """One of them, whether it is there or not."""
        assert ID.fullmatch(run), run
        return ReportedRun(self._disk, f"{REPORTED}/{namespace}/{run}")

    def find(self, run: str) -> ReportedRun | None:
        """One of them; None if there is none."""
        folder = self.folder(run)
        return self.of(folder.parent.name, run) if folder else None

    def folder(self, run: str) -> Path | None:
        """The folder of one of them; None if there is none."""
        if not ID.fullmatch(run):
            return None
        for namespace in self._disk.folders(REPORTED):
            if self._disk.stat(f"{REPORTED}/{namespace}/{run}/{RUN}"):
                return self._disk.root / REPORTED / namespace / run
        return None


class ReportedRun:
    """One of them."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk, self._folder = disk, folder

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While nobody else changes it."""
        with alone_in(self._disk, self._folder):
            yield

    def make(self) -> None:
        """Make its folder, unless it is there."""
        self._disk.make_folder(self._folder)

    def read_record(self) -> Json | None:
        """What is kept of it; None if it is not there."""
        try:
            record: Json = json.loads(self._disk.read(f"{self._folder}/{RUN}", JSON_FILE_BYTES))
        except FileNotFoundError:
            return None
        return record

    def keep(self, record: Json) -> None:
        """Keep how it is."""
        self._put(RUN, json.dumps(record, indent=1).encode())

    def hear(self) -> None:
        """Note that its machine was heard of now."""
        self._disk.touch(f"{self._folder}/{HEARD}")

    def put(self, name: str, data: bytes) -> None:
        """Keep one of its results."""
        self._put(name, data)

    def journal(self) -> tuple[int, str]:
        """How many bytes of its journal are here, in whole lines, and their BLAKE3. What was left
        of a line by a server that was killed is cut off.
        """
        data = self._lines()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            self._put(METRICS, data[:whole])
        return whole, blake3(data[:whole]).hexdigest()

    def size(self) -> int:
        """How many bytes of its journal are here."""
        status = self._disk.stat(f"{self._folder}/{METRICS}")
        return status.st_size if status else 0

    def begin_anew(self, lines: bytes) -> None:
        """Put lines in the place of its journal."""
        self._put(METRICS, lines)

    def append(self, lines: bytes) -> None:
        """Add lines to its journal."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        if not self.size():
            self.begin_anew(lines)
            return
        with self._disk.folder(self._folder) as here, disk_errors(self._disk.root):
            self._check_room(here, len(lines))
            with os.fdopen(os.open(METRICS, flags, dir_fd=here), "ab") as journal:
                journal.write(lines)
                journal.flush()
                os.fsync(journal.fileno())

    def delete(self) -> None:
        """Delete it."""
        names = self._disk.names(self._folder)
        for name in sorted(names, key=lambda name: name != RUN):  # first what makes it one
            self._disk.remove(f"{self._folder}/{name}")
        self._disk.remove_folder(self._folder)

    def _lines(self) -> bytes:
        try:
            return self._disk.read(f"{self._folder}/{METRICS}", REPORTED_LINES_BYTES)
        except FileNotFoundError:
            return b""

    def _put(self, name: str, data: bytes) -> None:
        with self._disk.folder(self._folder) as here, disk_errors(self._disk.root):
            self._check_room(here, len(data))
        self._disk.put(f"{self._folder}/{name}", data)

    def _check_room(self, here: int, size: int) -> None:
        disk = os.fstatvfs(here)
        if disk.f_bavail * disk.f_frsize < LEFT_BYTES + size:
            raise OSError(ENOSPC, os.strerror(ENOSPC))  # as if it were full
