"""Refs: names that move, kept as append-only numbered files."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zoo.domain.history import RefEntry
from zoo.domain.limits import ENTRY_BYTES
from zoo.domain.reference import Reference, check_case
from zoo.errors import (
    Conflict,
    Corrupt,
    Forbidden,
    InvalidManifest,
    InvalidReference,
    NotAFile,
    ZooError,
)
from zoo.store.disk import FOLDER_KIND, Disk

__all__ = ["Refs"]

FOLDER = "refs"
NUMBERED = re.compile(r"(\d{8})\.json")


class Refs:
    """The folder ``refs/``. Creating the next number exclusively is the compare-and-swap."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __iter__(self) -> Iterator[Reference]:
        """All names, sorted.

        Raises:
            Forbidden: A folder of names cannot be listed.
            NotAFile: Something else, such as a link, is in the place of one.
        """
        found, unlisted = self.readable()
        for error in unlisted.values():
            raise error
        yield from found

    def readable(self) -> tuple[list[Reference], dict[str, ZooError]]:
        """All names that can be listed, sorted, and the folders, such as ``team`` or
        ``team/flowers``, whose names cannot be: no rights, or something else in their place.
        """
        found: list[Reference] = []
        unlisted: dict[str, ZooError] = {}

        def folders(*above: str) -> list[str]:
            folder = "/".join((FOLDER, *above))
            try:
                kinds = self._disk.kinds(folder)
            except (Forbidden, NotAFile) as error:
                unlisted["/".join(above)] = error
                return []
            kinds = {name: kind for name, kind in kinds.items() if _reference(name, name, name)}
            for name, kind in kinds.items():
                if kind != FOLDER_KIND:
                    path = str(self._disk.root / folder / name)
                    unlisted["/".join((*above, name))] = NotAFile(path, FOLDER_KIND, kind)
            return [name for name, kind in kinds.items() if kind == FOLDER_KIND]

        for namespace in folders():
            for name in folders(namespace):
                tags = folders(namespace, name)
                found += [ref for tag in tags if (ref := _reference(namespace, name, tag))]
        return sorted(ref for ref in found if self._is_there(ref)), unlisted

    def _is_there(self, ref: Reference) -> bool:
        try:
            return bool(self._numbers(ref))
        except Forbidden:
            return True  # who reads it is told so

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
        self.check_new(ref)
        try:
            self._disk.create(_path(ref, entry.number), entry.to_bytes())
        except FileExistsError as error:
            raise self._conflict(ref) from error

    def _conflict(self, ref: Reference) -> Conflict:
        current = self.newest(ref)
        return Conflict(
            f"{ref} was moved by someone else", str(current.manifest) if current else ""
        )

    def check_new(self, ref: Reference) -> None:
        """See that a name is here already, or can be one on every system.

        Raises:
            InvalidReference: It cannot, or differs in nothing but case from one that is here.
        """
        if self._numbers(ref):
            return
        ref.check_portable()
        above = FOLDER
        for part in (ref.namespace, ref.name, ref.tag):
            check_case(str(ref), part, self._disk.folders(above))
            above += f"/{part}"

    def _numbers(self, ref: Reference) -> list[int]:
        names = self._disk.names(_folder(ref))
        return sorted(int(match[1]) for name in names if (match := NUMBERED.fullmatch(name)))

    def _read(self, ref: Reference, number: int) -> RefEntry:
        path = _path(ref, number)
        try:
            return RefEntry.from_bytes(self._disk.read(path, ENTRY_BYTES), number)
        except NotAFile:
            raise  # it says what lies there
        except (InvalidManifest, Corrupt) as error:
            where = self._disk.root / path
            raise InvalidManifest(
                f"{where}: {error}",
                hint="from where the history is whole, copy that file; if it is nowhere, delete "
                f"{where}: the name is then what it was before",
            ) from error


def _reference(namespace: str, name: str, tag: str) -> Reference | None:
    try:
        return Reference(namespace, name, tag)
    except InvalidReference:  # not ours, such as a file manager's leftovers
        return None


def _folder(ref: Reference) -> str:
    return f"{FOLDER}/{ref.namespace}/{ref.name}/{ref.tag}"


def _path(ref: Reference, number: int) -> str:
    return f"{_folder(ref)}/{number:08d}.json"
