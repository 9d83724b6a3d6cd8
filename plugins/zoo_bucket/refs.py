"""Refs in a bucket: append-only numbered objects, created on condition that they are new."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from zoo.domain.history import RefEntry
from zoo.domain.limits import ENTRY_BYTES
from zoo.domain.reference import Reference, check_case
from zoo.errors import Conflict, InvalidManifest, InvalidReference, Unavailable, Unsupported
from zoo_bucket.bucket import Bucket, each
from zoo_bucket.signs import PROBES

__all__ = ["Refs"]

NUMBERED = re.compile(r"(\d{8})\.json")


class Refs:
    """The keys below ``refs/``. Creating the next number on condition is the compare-and-swap."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._proven = False

    def prove(self) -> None:
        """Try once whether this service really refuses to create what is there.

        Some that speak S3 ignore the condition: of two writers, one would silently undo the other.

        Raises:
            Unsupported: It does not.
        """
        if self._proven:
            return
        key = PROBES + uuid.uuid4().hex
        try:
            exclusive = self._bucket.create(key, b"1") and not self._bucket.create(key, b"2")
        except Unsupported:
            exclusive = False
        finally:
            with suppress(Unavailable, Unsupported):  # what stays does no harm
                self._bucket.delete(key)
        if not exclusive:
            raise Unsupported(
                f"{self._bucket.place} does not honour conditional writes (If-None-Match), so that "
                "two people who push at once would undo each other's work"
            )
        self._proven = True

    def __iter__(self) -> Iterator[Reference]:
        """All names, sorted."""
        found = set()
        for key in self._bucket.below("refs/"):
            _, *parts, last = key.split("/")
            if len(parts) != 3 or not NUMBERED.fullmatch(last):
                continue
            try:
                found.add(Reference(*parts))
            except InvalidReference:  # not ours
                continue
        yield from sorted(found)

    def newest(self, ref: Reference) -> RefEntry | None:
        """The entry with the highest number, or None."""
        numbers = self._numbers(ref)
        return self._read(ref, numbers[-1]) if numbers else None

    def history(self, ref: Reference) -> tuple[RefEntry, ...]:
        """All entries, oldest first."""
        return tuple(each(partial(self._read, ref), self._numbers(ref)))

    def append(self, ref: Reference, entry: RefEntry) -> None:
        """Create entry ``entry.number``, exclusively.

        Raises:
            Conflict: That number exists, or the one before it does not.
            InvalidReference: The name is new, and not every system can hold it beside the others.
            Unsupported: The service cannot do this exclusively.
        """
        self.prove()
        numbers = self._numbers(ref)
        if not numbers:
            self._check_new(ref)
        next_number = (numbers[-1] if numbers else 0) + 1
        if entry.number != next_number or not self._bucket.create(
            _key(ref, entry.number), entry.to_bytes()
        ):
            current = self.newest(ref)
            raise Conflict(
                f"{ref} was moved by someone else", str(current.manifest) if current else ""
            )

    def _check_new(self, ref: Reference) -> None:
        """A bucket tells all names apart; the folders that they are pulled into may not."""
        ref.check_portable()
        above = "refs/"
        for part in (ref.namespace, ref.name, ref.tag):
            check_case(str(ref), part, self._bucket.folders(above))
            above += f"{part}/"

    def _numbers(self, ref: Reference) -> list[int]:
        below = _folder(ref)
        names = (key.removeprefix(below) for key in self._bucket.below(below))
        return sorted(int(match[1]) for name in names if (match := NUMBERED.fullmatch(name)))

    def _read(self, ref: Reference, number: int) -> RefEntry:
        key = _key(ref, number)
        try:
            return RefEntry.from_bytes(self._bucket.get(key, ENTRY_BYTES + 1) or b"", number)
        except InvalidManifest as error:
            raise InvalidManifest(f"{self._bucket.place}/{key}: {error}") from error


def _folder(ref: Reference) -> str:
    return f"refs/{ref.namespace}/{ref.name}/{ref.tag}/"


def _key(ref: Reference, number: int) -> str:
    return f"{_folder(ref)}{number:08d}.json"
