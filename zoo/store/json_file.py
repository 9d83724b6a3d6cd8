"""Small JSON files at the root of a zoo, such as its remotes, which several processes change."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from zoo.domain.limits import JSON_FILE_BYTES
from zoo.domain.plain import Json
from zoo.errors import Invalid, disk_errors
from zoo.store.atomic import write_whole
from zoo.store.disk import Disk
from zoo.store.regular import read_whole

__all__ = ["JsonFile"]


class JsonFile:
    """A JSON object in the file ``name`` at the root of ``disk``; empty if there is no such file.

    Args:
        disk: The zoo's.
        name: The file's.
        owner: The id of the only user who may have written it; None: whoever shares the zoo.
    """

    def __init__(self, disk: Disk, name: str, owner: int | None = None) -> None:
        self._disk = disk
        self._name = name
        self._owner = owner

    def read(self) -> Json:
        """The content.

        Raises:
            Invalid: It is damaged, or another user's.
            NotAFile, Forbidden: It cannot be read.
        """
        try:
            with self._disk.open(self._name) as file:
                if self._owner not in (None, os.fstat(file.fileno()).st_uid):
                    raise self.damaged("it belongs to another user")
                data = read_whole(file, self._disk.root / self._name, JSON_FILE_BYTES)
            content = json.loads(data)
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError) as error:
            raise self.damaged(error) from error
        if not isinstance(content, dict):
            raise self.damaged(f"it has a {type(content).__name__}, not an object")
        return content

    @contextmanager
    def change(self) -> Iterator[Json]:
        """The content, to be changed under a lock. It is written at
        the end, unless that is left by an error.

        Raises:
            Conflict: Another process is at it for long.
            Invalid, NotAFile, Forbidden: As for `read`.
            DiskFull: No space; the file is as it was.
        """
        with disk_errors(self._disk.root):
            self._disk.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._disk.alone():
            content = self.read()
            yield content
            data = (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
            if self._owner is None:
                self._disk.put(self._name, data)
            else:  # not with the rights of what is shared: nobody else may write it
                write_whole(self._disk.root / self._name, [data])

    def damaged(self, why: object) -> Invalid:
        """The error that says so."""
        path = self._disk.root / self._name
        return Invalid(f"{path} is damaged: {why}; fix or delete it")
