"""Rows of a file that takes hours, kept beside it until all of them are there.

``NAME.partial`` is JSON in lines: what the rows are made with, then each row, a list. Lines are
only appended; what a crash leaves half-written is cut off by whoever resumes. A kernel takes the
lock from whoever dies.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import stat
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from zoo.errors import Conflict, NotAFile, disk_errors
from zoo.store.regular import kind_of, open_regular

__all__ = ["Row", "Rows", "differences", "open_rows"]

Row: TypeAlias = Sequence[str | float | None]
SYNCED = 5.0
"""Seconds after which rows are on the disk also if the power fails; a killed process loses none."""
LONGEST = 1 << 24
"""Bytes of a line: of a row with the 20,000 likeliest classes it has some two million."""
OPEN = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Rows:
    """The rows of a file that are there. `open_rows` opens it."""

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self.path = path
        self._file, self._synced = file, time.monotonic()

    def begin(self, made_with: Mapping[str, object]) -> None:
        """Begin anew."""
        self._file.truncate(0)
        self._append(made_with)
        os.fsync(self._file.fileno())

    def check(self, made_with: Mapping[str, object]) -> None:
        """See that its rows are made with the same.

        Raises:
            Conflict: They are not, or this is no such file.
        """
        there = next(self._lines(), None)
        if not isinstance(there, dict):
            raise Conflict(f"{self.path} is no file of rows that zoo has begun", hint=ANEW)
        if differ := differences(there, made_with):
            raise Conflict(f"{self.path} was begun in another way: {'; '.join(differ)}", hint=ANEW)

    def cut(self, multiple: int) -> int:
        """Keep whole rows, and of these so many that ``multiple`` divides them: how many are left.

        So whoever resumes makes the same batches.
        """
        kept = end = 0
        with open_regular(self.path, self.path) as file:
            for at, line in enumerate(_whole(file)):  # the first one is of no row
                if not isinstance(line, list) and at:
                    break
                if at % multiple == 0:
                    kept, end = at, file.tell()
        self._file.truncate(end)
        return kept

    def read(self) -> Iterator[Row]:
        """Each row, from the first one on."""
        lines = self._lines()
        next(lines, None)
        yield from takewhile(lambda line: isinstance(line, list), lines)

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows.

        Raises:
            OSError: There is no space for them; those before stay.
        """
        self._append(*rows)
        if time.monotonic() > self._synced + SYNCED:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def delete(self) -> None:
        """Delete it, once the file is whole."""
        self.path.unlink()

    def _append(self, *lines: object) -> None:
        data = memoryview("".join(json.dumps(line) + "\n" for line in lines).encode())
        while data:
            data = data[self._file.write(data) :]

    def _lines(self) -> Iterator[Any]:
        with open_regular(self.path, self.path) as file:
            yield from _whole(file)


def differences(was: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """What rows were made with otherwise than they would be now, for people."""
    return [
        f"{name} was {was.get(name)}, and is {now.get(name)} now"
        for name in dict.fromkeys((*was, *now))
        if was.get(name) != now.get(name)
    ]


ANEW = "--force begins anew"
RESUME = f"--resume continues it, {ANEW}"


@contextmanager
def open_rows(
    target: Path, made_with: Mapping[str, object], *, resume: bool, force: bool
) -> Iterator[Rows]:
    """The rows of the file ``target``, for this process alone.

    Args:
        target: The file. Its folder is there.
        made_with: What the rows are made with, plain data: who resumes does so with the same.
        resume: Go on with what is there, if anything is.
        force: Without ``resume``: begin anew, whatever is there.

    Raises:
        Conflict: Another process writes it, something is there and neither is said, or what is
            there was made with something else.
        DiskFull: There is no space; what was added before stays.
    """
    path = target.with_name(f"{target.name}.partial")
    with disk_errors(target.parent), _locked(path) as file:
        rows, left = Rows(path, file), os.fstat(file.fileno()).st_size
        if left and not resume and not force:
            raise Conflict(f"{path} is left of a run that was cut off", hint=RESUME)
        if left and resume:
            rows.check(made_with)
            yield rows
            return
        try:
            rows.begin(made_with)
            yield rows
        except BaseException:
            with suppress(OSError):
                if next(rows.read(), None) is None:  # nothing to resume
                    path.unlink()
            raise


def _locked(path: Path) -> io.FileIO:
    try:
        file = io.FileIO(os.open(path, OPEN, 0o666), "r+")
    except OSError as error:
        if path.is_symlink():
            raise NotAFile(str(path), "a file", "a link") from error
        raise
    try:
        mode = os.fstat(file.fileno())
        if not stat.S_ISREG(mode.st_mode):
            raise NotAFile(str(path), "a file", kind_of(mode.st_mode))
        with suppress(OSError):  # there are no locks in this file system
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _taken(path) from error
        with suppress(FileNotFoundError):
            if os.path.samestat(mode, path.lstat()):
                _OPEN.add(file)
                return file
        raise _taken(path)  # whoever had it is done since, and has deleted it
    except BaseException:
        file.close()
        raise


def _taken(path: Path) -> Conflict:
    return Conflict(f"another process is writing {path}")


def _whole(file: BinaryIO) -> Iterator[Any]:
    """What is in each line, up to one that is not whole."""
    for line in iter(partial(file.readline, LONGEST), b""):
        if not line.endswith(b"\n"):
            return
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            return


_OPEN: weakref.WeakSet[io.FileIO] = weakref.WeakSet()


def _forget() -> None:
    # A forked worker that outlives its parent would hold the lock.
    for file in _OPEN:
        file.close()


os.register_at_fork(after_in_child=_forget)
