"""Spent: what is good once, such as what a job shows, is remembered until it has expired."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from zoo.errors import Conflict
from zoo.serve.who import schema
from zoo.serve.who.tokens import digest_of, utc_text

__all__ = ["is_spent", "spend_once"]

TABLE = schema.spent


def is_spent(connection: Connection, what: str) -> bool:
    """Whether something is spent, and would not have expired."""
    which = TABLE.c.digest == digest_of(what)
    return connection.scalar(select(TABLE.c.digest).where(which)) is not None


def spend_once(connection: Connection, what: str, seconds: float) -> None:
    """Note that something is spent, in a transaction that writes; it expires by itself in so many
    seconds at most.

    Raises:
        Conflict: It was spent before.
    """
    now = datetime.now(UTC)
    connection.execute(delete(TABLE).where(TABLE.c.until <= utc_text(now)))
    if is_spent(connection, what):
        raise Conflict("it was used already")
    until = utc_text(now + timedelta(seconds=seconds + 1))
    connection.execute(insert(TABLE), {"digest": digest_of(what), "until": until})
