"""Refs: names that move, kept as append-only numbered files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.errors import Conflict, InvalidManifest, InvalidReference
from zoo.store.atomic import create_exclusive

__all__ = ["Refs"]

NUMBERED = re.compile(r"(\d{8})\.json")


class Refs:
    """The folder ``refs/``. Creating the next number exclusively is the compare-and-swap."""

    def __init__(self, folder: Path, staging: Path) -> None:
        self.folder = folder
        self.staging = staging

    def __iter__(self) -> Iterator[Reference]:
        """All names, sorted."""
        found = []
        for path in self.folder.glob("*/*/*"):
            try:
                ref = Reference(*path.relative_to(self.folder).parts)
            except InvalidReference:  # not ours, such as a file manager's leftovers
                continue
            if self._numbers(ref):
                found.append(ref)
        yield from sorted(found)

    def newest(self, ref: Reference) -> RefEntry | None:
        """The entry with the highest number, or None."""
        numbers = self._numbers(ref)
        return self._read(ref, numbers[-1]) if numbers else None

    def history(self, ref: Reference) -> tuple[RefEntry, ...]:
        """All entries, oldest first."""
        return tuple(self._read(ref, number) for number in self._numbers(ref))

    def append(self, ref: Reference, entry: RefEntry) -> None:
        """Create entry ``entry.number``, exclusively.

        Raises:
            Conflict: That number exists, or the one before it does not.
        """
        numbers = self._numbers(ref)
        if entry.number != (numbers[-1] if numbers else 0) + 1:
            raise self._conflict(ref)
        try:
            create_exclusive(self._path(ref, entry.number), entry.to_bytes(), staging=self.staging)
        except FileExistsError as error:
            raise self._conflict(ref) from error

    def _conflict(self, ref: Reference) -> Conflict:
        current = self.newest(ref)
        return Conflict(
            f"{ref} was moved by someone else", str(current.manifest) if current else ""
        )

    def _folder(self, ref: Reference) -> Path:
        return self.folder / ref.namespace / ref.name / ref.tag

    def _path(self, ref: Reference, number: int) -> Path:
        return self._folder(ref) / f"{number:08d}.json"

    def _numbers(self, ref: Reference) -> list[int]:
        try:
            names = [path.name for path in self._folder(ref).iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(int(match[1]) for name in names if (match := NUMBERED.fullmatch(name)))

    def _read(self, ref: Reference, number: int) -> RefEntry:
        path = self._path(ref, number)
        try:
            return RefEntry.from_bytes(path.read_bytes())
        except InvalidManifest as error:
            raise InvalidManifest(f"{path}: {error}") from error
