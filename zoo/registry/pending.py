"""Pending: notes of ref log entries that are about to be made, so that none is missed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from zoo.domain.reference import Reference
from zoo.registry.schema import moving

__all__ = ["Note", "announce", "drop_note", "notes"]


@dataclass(frozen=True, slots=True)
class Note:
    """That a name was about to move.

    Attributes:
        number: The note's own.
        ref: The name.
        at: When, UTC, ISO 8601.
    """

    number: int
    ref: Reference
    at: str


def announce(connection: Connection, ref: Reference, at: str) -> int:
    """Note that ``ref`` is about to move; the note's number."""
    row = {"namespace": ref.namespace, "name": ref.name, "tag": ref.tag, "at": at}
    key = connection.execute(insert(moving), row).inserted_primary_key
    assert key is not None  # a single row has one
    return int(key[0])


def notes(connection: Connection) -> list[Note]:
    """All notes, oldest first."""
    rows = connection.execute(select(moving).order_by(moving.c.id))
    return [Note(row.id, Reference(row.namespace, row.name, row.tag), row.at) for row in rows]


def drop_note(connection: Connection, number: int) -> None:
    """Delete a note: its entry is indexed, or was not made."""
    connection.execute(delete(moving).where(moving.c.id == number))
