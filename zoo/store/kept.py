"""Kept: what a machine has read of a shared store, on its disk, as much as there is room for.

Several processes share the folder. What was used longest ago goes first; whoever has a file open
keeps it. What lies here is hashed before a process uses it for the first time, and again if the
file is another one than it was then.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from blake3 import blake3

from zoo.store.disk import STAGING, Disk

__all__ = ["DiskCache", "digest_in"]

LOG = logging.getLogger("zoo")
FILE = "kept"
"""How many bytes are kept, or are about to be: read and written by one process at a time."""
FOLDERS = ("objects", "manifests", "sent")
NAMED = re.compile(r"(?:objects|manifests)/[0-9a-f]{2}/([0-9a-f]{64})(?:\.json)?")
SENT = re.compile(r"sent/[^/]+/[^/]+/(?:[0-9a-f]{64}|\d{1,6}|\d{1,4}-[0-9a-f]{64})")
"""What was sent to a server, and is checked by whoever puts it together."""
USED_SECONDS = 60
"""So seldom is noted that a file is used."""
LEFT_SECONDS = 86400
"""What was being written for so long is of a process that was killed."""
LOW = 0.9
"""So much of the room is filled after some was made."""
SOUND = 200_000
"""Files that are known to be sound."""
Stamp = tuple[int, int, int]


def digest_in(key: str) -> str | None:
    """The BLAKE3 of what is under a key, if its name says it."""
    match = NAMED.fullmatch(key)
    return match[1] if match else None


class DiskCache:
    """Files on a disk, at most ``room`` bytes of them, by their keys."""

    def __init__(self, disk: Disk, room: int) -> None:
        self._disk, self._room = disk, room
        self._sound: dict[str, Stamp] = {}

    def open(self, key: str) -> BinaryIO | None:
        """The file of a key; None if it is not kept. One that is damaged is deleted."""
        known = self._sound.get(key)
        if known is None and not (NAMED.fullmatch(key) or SENT.fullmatch(key)):
            return None
        try:
            file = self._disk.open(key)
        except FileNotFoundError:
            return None
        status = os.fstat(file.fileno())
        stamp = status.st_ino, status.st_size, status.st_mtime_ns
        if stamp != known:
            if not _is_sound(key, file):
                file.close()
                LOG.warning("what is kept of %s is damaged: it is read again", key)
                self._disk.remove(key)
                return None
            self._note(key, stamp)
        if time.time() - status.st_atime > USED_SECONDS:
            os.utime(file.fileno(), ns=(time.time_ns(), status.st_mtime_ns))
        return file

    def _note(self, key: str, stamp: Stamp) -> None:
        if len(self._sound) >= SOUND:
            self._sound.clear()
        self._sound[key] = stamp

    def holds(self, keys: Collection[str]) -> set[str]:
        """Those of some keys whose files are known to be kept."""
        root = self._disk.root
        return {key for key in keys if key in self._sound and (root / key).exists()}

    def take(self, name: str, key: str, file: BinaryIO) -> None:
        """Keep a file that lies under ``name`` on the disk and was found to be what ``key`` says,
        if there can be room for it.
        """
        status = os.fstat(file.fileno())
        if not (NAMED.fullmatch(key) or SENT.fullmatch(key)) or status.st_size > self._room:
            return
        with self._counting() as counter:
            used = _read(counter) + status.st_size
            if used > self._room:
                used = self._make_room(status.st_size) + status.st_size
            # First: who is stopped in between has counted too much, and never too little.
            _write(counter, used)
            self._disk.rename_first(name, key)
        self._note(key, (status.st_ino, status.st_size, status.st_mtime_ns))

    def forget(self, key: str) -> None:
        """Keep what is under a key no more."""
        self._sound.pop(key, None)
        self._disk.remove(key)

    def count(self) -> int:
        """Count all files again, and delete what killed processes have left; the bytes."""
        with self._counting() as counter:
            used = self._make_room(0)
            _write(counter, used)
        return used

    def _make_room(self, size: int) -> int:
        """Delete what was used longest ago, so that there is room for some bytes; those left."""
        files, long_ago = list[tuple[float, int, str]](), time.time() - LEFT_SECONDS
        for folder in (*FOLDERS, STAGING):
            for name, status in self._disk.walk(folder):
                if NAMED.fullmatch(name) or SENT.fullmatch(name):
                    files.append((status.st_atime, status.st_size, name))
                elif status.st_mtime < long_ago:
                    self._disk.remove(name)
        used = sum(bytes_ for _, bytes_, _ in files)
        if used + size > self._room:
            for _, bytes_, name in sorted(files):
                if used <= max(0, int(LOW * self._room) - size):
                    break
                self.forget(name)
                used -= bytes_
        return used

    @contextmanager
    def _counting(self) -> Iterator[int]:
        """The file that counts, for nobody else on this machine meanwhile."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        counter = os.open(self._disk.root / FILE, flags, 0o600)
        try:
            with suppress(OSError):  # there are file systems without locks
                fcntl.flock(counter, fcntl.LOCK_EX)
            yield counter
        finally:
            os.close(counter)


def _is_sound(key: str, file: BinaryIO) -> bool:
    digest = digest_in(key)
    if digest is None:
        return True
    hasher = blake3()
    while piece := file.read(1 << 20):
        hasher.update(piece)
    file.seek(0)
    return hasher.hexdigest() == digest


def _read(counter: int) -> int:
    text = os.pread(counter, 20, 0)
    return int(text) if text.isdigit() else 0


def _write(counter: int, used: int) -> None:
    os.pwrite(counter, b"%020d" % used, 0)
