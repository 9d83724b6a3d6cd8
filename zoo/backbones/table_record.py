"""What the zoo remembers, in its cache, of a table of predictions that it wrote, by the digest of
the table's bytes: whoever starts a job again that is done learns that it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from blake3 import blake3

from zoo.errors import Conflict, Corrupt, DiskFull, NotAFile
from zoo.store.atomic import write_whole
from zoo.store.regular import read_regular
from zoo.store.rows import differences

__all__ = ["Names", "TableRecord"]

MOST = 1 << 16
"""Bytes of a record."""
ANEW = "--force replaces it"


class Names:
    """A digest of the names of images, in their order."""

    def __init__(self) -> None:
        self._hasher = blake3()

    def add(self, name: str) -> None:
        """The next one; it need not be UTF-8."""
        self._hasher.update(name.encode("utf-8", "surrogateescape") + b"\0")

    def digest(self) -> str:
        """BLAKE3 of those so far, in hex."""
        return self._hasher.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRecord:
    """A table that is complete.

    Attributes:
        made_with: What its rows are made with, plain data.
        names: Of its images; see `Names`.
        images: How many rows it has.
        unreadable: How many of these have a problem in place of a prediction.
        calibrated: As in `zoo.backbones.predicted.PredictionsFile`.
    """

    made_with: Mapping[str, object]
    names: str
    images: int
    unreadable: int
    calibrated: bool

    def keep(self, cache: Path, table: str) -> None:
        """Remember it in the folder ``cache``, of the table with this digest; where there is no
        space, or no right to, it is not remembered.
        """
        with suppress(OSError, DiskFull):
            write_whole(_path(cache, table), [json.dumps(asdict(self)).encode()])

    @classmethod
    def of(cls, cache: Path, out: Path) -> Self:
        """The record of the table ``out``.

        Raises:
            Conflict: There is none: another program made it, or it was changed.
        """
        hasher = blake3()
        with out.open("rb") as file:
            while piece := file.read(1 << 20):
                hasher.update(piece)
        try:
            path = _path(cache, hasher.hexdigest())
            return cls(**json.loads(read_regular(path, MOST)))
        except (OSError, ValueError, TypeError, RecursionError, Corrupt, NotAFile) as error:
            text = f"{out} exists, and this zoo does not know that it wrote it as it is"
            raise Conflict(text, hint=ANEW) from error

    def check(self, out: Path, made_with: Mapping[str, object], names: Names) -> None:
        """See that ``out`` has the rows of these images, made in this way.

        Raises:
            Conflict: It has others.
        """
        if differ := differences(self.made_with, made_with):
            raise Conflict(f"{out} was made in another way: {'; '.join(differ)}", hint=ANEW)
        if self.names != names.digest():
            raise Conflict(f"{out} is of other images", hint=ANEW)


def _path(cache: Path, table: str) -> Path:
    return cache / "predicted" / f"{table}.json"
