"""Side files: small JSON files about checkpoints, beside a zoo's store, which its index is made of
again.

<folder>/<checkpoint>/<key>.json, both digests: one for each checkpoint and key.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from blake3 import blake3

from zoo.domain.benched import Benched
from zoo.domain.digest import Digest
from zoo.domain.evaluated import Evaluated
from zoo.domain.limits import JSON_FILE_BYTES
from zoo.domain.plain import Json
from zoo.errors import Corrupt, Forbidden, Invalid, InvalidReference
from zoo.store.disk import Disk
from zoo.store.listing import read_one

__all__ = ["BENCHES", "EVALUATIONS", "KINDS", "Figures", "SideFiles"]

LOG = logging.getLogger("zoo")
HEX = re.compile("[0-9a-f]{64}")


class MeasuredFigures(Protocol):
    """What such a file has."""

    @property
    def manifest(self) -> Digest: ...

    @property
    def at(self) -> str: ...


Figures = TypeVar("Figures", bound=MeasuredFigures)


@dataclass(frozen=True, slots=True)
class SideFiles(Generic[Figures]):
    """One kind of them.

    Attributes:
        folder: Where they are, in the zoo.
        word: What one is called.
        again: The command that makes one again.
        write: What is written of one.
        read: Reads that; ValueError if it is none.
        key: Which one of its checkpoint it is: an earlier one with the same is replaced.
    """

    folder: str
    word: str
    again: str
    write: Callable[[Figures], Json]
    read: Callable[[Mapping[str, object]], Figures]
    key: Callable[[Figures], Digest]

    def keep(self, disk: Disk, one: Figures) -> None:
        """Keep one, in the place of an earlier one of the same checkpoint and key.

        Raises:
            DiskFull, Forbidden: It cannot be written.
        """
        data = json.dumps(self.write(one), indent=2) + "\n"
        disk.put(self._file(one.manifest.hex, self.key(one).hex), data.encode())

    def of(self, disk: Disk, manifest: Digest) -> list[Figures]:
        """All of a checkpoint, newest first; one that cannot be read is told."""
        figures = []
        for file in self._files(disk, manifest.hex):
            one = read_one(partial(self._read, disk), file)
            if isinstance(one, Exception):
                LOG.warning("%s is left out: %s", file, one)
            elif one:
                figures.append(one)
        return sorted(figures, key=lambda each: each.at, reverse=True)

    def unread(self, disk: Disk) -> Iterator[tuple[str, str]]:
        """The files that cannot be read, each with the reason."""
        for folder in filter(HEX.fullmatch, disk.folders(self.folder)):
            for file in self._files(disk, folder):
                problem = read_one(partial(self._read, disk), file)
                if isinstance(problem, Exception):
                    yield file, str(problem)

    def drop(self, disk: Disk, here: Callable[[Digest], bool]) -> None:
        """Delete those of checkpoints that are not ``here`` any more; what is another's stays."""
        for folder in filter(HEX.fullmatch, disk.folders(self.folder)):
            if here(Digest("blake3", folder)):
                continue
            try:
                for file in self._files(disk, folder):
                    disk.remove(file)
            except Forbidden as error:
                LOG.warning("%ss of a checkpoint that is gone stay: %s", self.word, error)
            disk.remove_folder(f"{self.folder}/{folder}")

    def _file(self, manifest: str, key: str) -> str:
        return f"{self.folder}/{manifest}/{key}.json"

    def _files(self, disk: Disk, manifest: str) -> list[str]:
        names = disk.names(f"{self.folder}/{manifest}")
        return [
            self._file(manifest, name.removesuffix(".json"))
            for name in names
            if name.endswith(".json") and HEX.fullmatch(name.removesuffix(".json"))
        ]

    def _read(self, disk: Disk, name: str) -> Figures:
        """One of them.

        Raises:
            Invalid: It is damaged, or of something else than its name says.
            Forbidden, NotAFile: It cannot be read.
        """
        try:
            content = json.loads(disk.read(name, JSON_FILE_BYTES))
            one = self.read(content if isinstance(content, dict) else {})
            if name != self._file(one.manifest.hex, self.key(one).hex):
                raise ValueError("its name is that of another")
        except (ValueError, RecursionError, FileNotFoundError, Corrupt, InvalidReference) as error:
            raise Invalid(f"it is damaged: {error}; delete it, and {self.again} again") from error
        return one


EVALUATIONS = SideFiles(
    folder="evaluations",
    word="evaluation",
    again="evaluate",
    write=Evaluated.to_kept,
    read=Evaluated.from_json,
    key=lambda each: Digest.parse(each.data_digest),
)
"""What `zoo evaluate` found, by the data."""
BENCHES = SideFiles(
    folder="benches",
    word="benchmark",
    again="zoo bench it",
    write=Benched.to_json,
    read=Benched.from_json,
    key=lambda each: Digest("blake3", blake3(each.device.encode()).hexdigest()),
)
"""What `zoo bench` measured, by the kind of device."""
KINDS = (EVALUATIONS, BENCHES)
