"""History: the log of a ref, one entry for each checkpoint that it pointed at."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Self

from zoo.domain.digest import Digest
from zoo.domain.limits import ENTRY_BYTES
from zoo.domain.plain import Json
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.errors import MALFORMED, InvalidManifest, InvalidReference

__all__ = ["PULLED", "RENAMED", "RENAMES", "RESTORED", "RefEntry", "moved_from", "was_pulled"]

PULLED = "pull from "
"""Why a name moved begins so where a pull moved it."""
RENAMED = "renamed to "
"""Why a name was deleted begins so where it got another one."""
RENAMES = "rename "
"""Why that one was given begins so."""
RESTORED = "restore"
"""Why a name that was deleted is there again as the same one; for any other reason it is another
one, that has nothing of what was there before.
"""

CHECKSUM = "checksum"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RefEntry(Result):
    """One entry in the log of a ref.

    Attributes:
        number: Counts the entries of this ref from 1.
        manifest: The checkpoint that it points at from then on.
        previous: The one before; None for the first.
        at: UTC time, ISO 8601.
        by: Who moved it.
        why: What moved it, as text.
        note: What the user said of that.
        deleted: Whether the name was deleted; ``manifest`` is then what it pointed at last.
        protected: Whether the name may not be moved or deleted from here on.
        deprecated: Why it is to be used no more, and what instead; empty if it may be.
        intact: Whether all is as it was written; a changed text stops nobody, and verify tells.
    """

    number: int
    manifest: Digest
    previous: Digest | None
    at: str
    by: str
    why: str
    note: str = ""
    deleted: bool = False
    protected: bool = False
    deprecated: str = ""
    intact: bool = field(default=True, compare=False)

    @property
    def when(self) -> datetime | None:
        """``at`` as a time in UTC; None if the text is no time."""
        return self.parse_time(self.at)

    @property
    def restores(self) -> bool:
        """Whether it brings back a name that was deleted before it."""
        return self.why == RESTORED and self.manifest == self.previous

    @property
    def renamed(self) -> Reference | None:
        """The name that it got where that is why it was deleted."""
        return self._named(RENAMED) if self.deleted else None

    @property
    def was(self) -> Reference | None:
        """The name that it was before where it was given by a renaming."""
        return self._named(RENAMES)

    def _named(self, why: str) -> Reference | None:
        if not self.why.startswith(why):
            return None
        try:
            return Reference.parse(self.why.removeprefix(why))
        except InvalidReference:  # somebody's text
            return None

    @staticmethod
    def parse_time(text: str) -> datetime | None:
        """A text as a time in UTC; None if it is none."""
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):  # "0001-01-01T00:00+23:59" is before all times
            return None

    def to_json(self) -> Json:
        """Plain data for JSON."""
        return {
            "number": self.number,
            "manifest": str(self.manifest),
            "previous": str(self.previous) if self.previous else None,
            "at": self.at,
            "by": self.by,
            "why": self.why,
            **({"note": self.note} if self.note else {}),
            **({"deleted": True} if self.deleted else {}),
            **({"protected": True} if self.protected else {}),
            **({"deprecated": self.deprecated} if self.deprecated else {}),
        }

    def to_bytes(self) -> bytes:
        """Canonical JSON, with a checksum of the rest.

        Raises:
            InvalidManifest: It would be longer than anybody reads.
        """
        plain = self.to_json()
        data = _canonical({**plain, CHECKSUM: _checksum(plain)})
        if len(data) > ENTRY_BYTES:
            raise InvalidManifest(
                f"a ref entry of {len(data)} bytes: at most {ENTRY_BYTES} are read"
            )
        return data

    @classmethod
    def from_bytes(cls, data: bytes, number: int | None = None) -> Self:
        """Inverse of `to_bytes`; ``number`` is the one that its file is called after, if any.

        Raises:
            InvalidManifest: The bytes are no ref entry, or another entry: nobody could move
                the name on from it.
        """
        try:
            if len(data) > ENTRY_BYTES:
                raise ValueError(f"more than {ENTRY_BYTES} bytes")
            raw = json.loads(data)
            # Entries of early versions have none.
            checksum = raw.pop(CHECKSUM, None)
            intact = checksum is None or checksum == _checksum(raw)
            if number not in (None, raw["number"]):
                raise ValueError(f"it is called entry {number}, and says {raw['number']!r:.40}")
            return cls(
                number=_number(raw["number"]),
                manifest=Digest.parse(raw["manifest"]),
                previous=Digest.parse(raw["previous"]) if raw["previous"] else None,
                at=_text(raw["at"]),
                by=_text(raw["by"]),
                why=_text(raw["why"]),
                note=_text(raw.get("note", "")),
                deleted=bool(raw.get("deleted", False)),
                protected=bool(raw.get("protected", False)),
                deprecated=_text(raw.get("deprecated", "")),
                intact=intact,
            )
        except MALFORMED as error:
            raise InvalidManifest(f"not a ref entry: {error}") from error


def _text(value: object) -> str:
    text = str(value)
    text.encode()  # JSON can hold halves of characters, which nothing else can
    return text


def _number(value: object) -> int:
    # The file's name has eight digits. True and 1.0 equal 1, and are none.
    if type(value) is not int or not 0 < value < 10**8:
        raise ValueError(f"the number of an entry is {value!r:.40}")
    return value


def _canonical(data: dict[str, object]) -> bytes:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def _checksum(data: dict[str, object]) -> str:
    return f"blake2b:{blake2b(_canonical(data), digest_size=16).hexdigest()}"


def was_pulled(history: Iterable[RefEntry], digest: Digest) -> bool:
    """Whether ``digest``, which a name points at now, came to it by a pull: then it is elsewhere,
    too. Later entries that leave it there (a protection, a deletion) do not count.
    """
    why = ""
    for entry in reversed(tuple(history)):
        if entry.manifest != digest:
            break
        why = entry.why
    return why.startswith(PULLED)


def moved_from(before: RefEntry | None, manifest: Digest) -> Digest | None:
    """What a name whose newest entry was ``before`` pointed at, if not at ``manifest`` already."""
    if before is None or before.deleted or before.manifest == manifest:
        return None
    return before.manifest
