"""Stored: one file of a store, as a listing shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["Stored"]


@dataclass(frozen=True, slots=True)
class Stored:
    """One file of a store, in a folder or in a bucket.

    Attributes:
        name: Its path in the store, with slashes: ``objects/ab/abcdef…``.
        bytes: Its size.
        at: When it was written, by the clock of the place where it is; has a time zone.
    """

    name: str
    bytes: int
    at: datetime
