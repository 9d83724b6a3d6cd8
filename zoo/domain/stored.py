"""Stored: one file of a store, as a listing shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["StoredFile"]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a store, in a folder or in a bucket: its ``name``, a path in the store with
    slashes (``objects/ab/abcdef…``), its size in ``bytes``, and when it was written, ``at`` a time
    with zone by the clock of the place where it is.
    """

    name: str
    bytes: int
    at: datetime
