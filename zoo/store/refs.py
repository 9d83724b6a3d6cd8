"""Refs: names that move, kept as append-only numbered files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache

from zoo.contracts import Backend, SupportsPermissions
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
    Unavailable,
    Unsupported,
    ZooError,
)
from zoo.store.capabilities import at_once, folders, is_served, newest, read_small, sync
from zoo.store.disk import FOLDER_KIND

__all__ = ["MARKER", "Refs", "entry_name"]

ROOT = "refs/"
MARKER = "zoo.json"
"""What says that a place is a store."""
NUMBERED = re.compile(r"(\d{8})\.json")
KEPT = 256
"""Entries that were read last stay in memory: who serves names reads the same ones each time."""
LAST = 10**8 - 1
"""The largest number that fits."""


_entry = lru_cache(maxsize=KEPT)(RefEntry.from_bytes)


class Refs:
    """The names of a store. Creating the next number exclusively is the compare-and-swap.

    Attributes:
        backend: What keeps the bytes.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def refs(self) -> Iterator[Reference]:
        """All names that are here, deleted ones that can be restored included, sorted.

        Raises:
            Forbidden: A folder of names cannot be listed.
            NotAFile: Something else, such as a link, is in the place of one.
        """
        refs, unlisted = self.readable_refs()
        for error in unlisted.values():
            raise error
        yield from refs

    def readable_refs(self) -> tuple[list[Reference], dict[str, ZooError]]:
        """All names that can be listed, sorted, and the folders, such as ``team`` or
        ``team/flowers``, whose names cannot be: no rights, or something else in their place.
        """
        if isinstance(self.backend, SupportsPermissions):
            return self._walked(self.backend)
        return sorted(self.newest_numbers()), {}

    def newest_numbers(self) -> dict[Reference, int]:
        """The number of the newest entry of each name, by one look at all that is listed."""
        numbers: dict[Reference, int] = {}
        for file in self.backend.list(ROOT):
            _, *parts, last = file.name.split("/")
            match = NUMBERED.fullmatch(last)
            if match and len(parts) == 3 and (ref := _reference(*parts)):
                numbers[ref] = max(int(match[1]), numbers.get(ref, 0))
        return numbers

    def _walked(self, backend: SupportsPermissions) -> tuple[list[Reference], dict[str, ZooError]]:
        refs: list[Reference] = []
        unlisted: dict[str, ZooError] = {}

        def inner(*above: str) -> list[str]:
            folder = ROOT + "".join(f"{part}/" for part in above)
            try:
                kinds = backend.kinds(folder)
            except (Forbidden, NotAFile) as error:
                unlisted["/".join(above)] = error
                return []
            kinds = {name: kind for name, kind in kinds.items() if _reference(name, name, name)}
            for name, kind in kinds.items():
                if kind != FOLDER_KIND:
                    where = f"{backend}/{folder}{name}"
                    unlisted["/".join((*above, name))] = NotAFile(where, FOLDER_KIND, kind)
            return [name for name, kind in kinds.items() if kind == FOLDER_KIND]

        for namespace in inner():
            for name in inner(namespace):
                tags = inner(namespace, name)
                refs += [ref for tag in tags if (ref := _reference(namespace, name, tag))]
        return sorted(ref for ref in refs if self._is_there(ref)), unlisted

    def _is_there(self, ref: Reference) -> bool:
        try:
            return bool(self._numbers(ref))
        except Forbidden:
            return True  # who reads it is told so

    def newest_entries(self) -> dict[Reference, RefEntry | ZooError] | None:
        """The newest entries of all names, or why one cannot be read; None where the place cannot
        be asked for them in one go.
        """
        listing = newest(self.backend)
        if listing is None:
            return None
        entries: dict[Reference, RefEntry | ZooError] = {}
        for key, data in listing.items():
            _, *parts, last = key.split("/")
            match = NUMBERED.fullmatch(last)
            if match and len(parts) == 3 and (ref := _reference(*parts)):
                try:
                    with self._explained(key):
                        entries[ref] = RefEntry.from_bytes(data, int(match[1]))
                except ZooError as error:
                    entries[ref] = error
        return dict(sorted(entries.items()))

    def newest_number(self, ref: Reference) -> int:
        """The number of the newest entry of ``ref``; 0 if there is none."""
        numbers = self._numbers(ref)
        return numbers[-1] if numbers else 0

    def read_ref(self, ref: Reference) -> RefEntry | None:
        """The newest entry of ``ref``, or None."""
        numbers = self._numbers(ref)
        return self._read(ref, numbers[-1]) if numbers else None

    def history(self, ref: Reference, *, after: int = 0) -> tuple[RefEntry, ...]:
        """All entries of ``ref`` with a number above ``after``, oldest first; empty if there is
        none.
        """
        numbers = [number for number in self._numbers(ref) if number > after]
        if len(numbers) < 2 or isinstance(
            self.backend, SupportsPermissions
        ):  # a disk is faster than threads
            return tuple(self._read(ref, number) for number in numbers)
        with ThreadPoolExecutor(min(len(numbers), at_once(self.backend))) as pool:
            return tuple(pool.map(lambda number: self._read(ref, number), numbers))

    def history_since_damage(self, ref: Reference, *, after: int = 0) -> tuple[RefEntry, ...]:
        """As `history`, or if an entry is damaged, those that follow it."""
        with suppress(InvalidManifest, NotAFile):
            return self.history(ref, after=after)
        entries: list[RefEntry] = []
        with suppress(InvalidManifest, NotAFile):
            for number in reversed(self._numbers(ref)):
                if number > after:
                    entries.append(self._read(ref, number))
        return tuple(reversed(entries))

    def append_ref(self, ref: Reference, entry: RefEntry) -> None:
        """Create entry ``entry.number`` of ``ref``, exclusively.

        Raises:
            Conflict: That number exists, or the one before it does not.
            InvalidReference: The name is new, and not every system can hold it beside the others.
            Unavailable: The store is gone from there.
            Unsupported: The place cannot do so exclusively, or no number is left.
        """
        if is_served(self.backend):
            if not self.backend.create(entry_name(ref, entry.number), entry.to_bytes()):
                raise self._conflict(ref)
            return
        numbers = self._numbers(ref)
        if entry.number != (numbers[-1] if numbers else 0) + 1:
            raise self._conflict(ref)
        if entry.number > LAST:
            raise Unsupported(
                f"{ref} is at entry {LAST}, the last that a name can have: "
                f"give it another name: zoo tag {ref} NAME"
            )
        if not numbers:
            # A folder of names would be made below the mount point of a disk that is gone.
            if not self.backend.stat(MARKER):
                raise Unavailable(
                    str(self.backend), "is not a zoo store any more: was it unmounted?"
                )
            self._check_new(ref)
        # What was checked above is only told earlier so: of two who move the name at once, both may
        # come to here, and this lets one of them through.
        if not self.backend.create(entry_name(ref, entry.number), entry.to_bytes()):
            raise self._conflict(ref)
        sync(self.backend)  # before anybody is told that it has moved

    def _conflict(self, ref: Reference) -> Conflict:
        current = self.read_ref(ref)
        return Conflict(
            f"{ref} was moved by someone else", str(current.manifest) if current else ""
        )

    def check_new(self, ref: Reference) -> None:
        """See that a name is here already, or can be one on every system.

        Raises:
            InvalidReference: It cannot, or differs in nothing but case from one that is here.
        """
        if not self._numbers(ref):
            self._check_new(ref)

    def _check_new(self, ref: Reference) -> None:
        ref.check_portable()
        above = ROOT
        for part in (ref.namespace, ref.name, ref.tag):
            check_case(str(ref), part, folders(self.backend, above))
            above += f"{part}/"

    def _numbers(self, ref: Reference) -> list[int]:
        folder, backend = _folder(ref), self.backend
        try:
            if isinstance(backend, SupportsPermissions):
                names = [*backend.kinds(folder)]  # what is no file has a number, too
            else:
                names = [file.name.removeprefix(folder) for file in backend.list(folder)]
        except NotAFile:  # something else is in the place of the folder
            return []
        return sorted(int(match[1]) for name in names if (match := NUMBERED.fullmatch(name)))

    def _read(self, ref: Reference, number: int) -> RefEntry:
        path = entry_name(ref, number)
        with self._explained(path):
            return _entry(read_small(self.backend, path, ENTRY_BYTES), number)

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Say of an entry that is damaged where it is, and what helps."""
        try:
            yield
        except NotAFile:
            raise  # it says what lies there
        except (InvalidManifest, Corrupt) as error:
            where = f"{self.backend}/{path}"
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
    return f"{ROOT}{ref.namespace}/{ref.name}/{ref.tag}/"


def is_whole(entries: tuple[RefEntry, ...]) -> bool:
    """Whether a log was read from its first entry on: none of it is damaged."""
    return bool(entries) and entries[0].number == 1


def entry_name(ref: Reference, number: int) -> str:
    """The name in the store of an entry."""
    return f"{_folder(ref)}{number:08d}.json"
