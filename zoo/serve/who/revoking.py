"""Revoking: a token ends, and with it those that were made by it."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, select, update

from zoo.serve.who import schema
from zoo.serve.who.audit import record
from zoo.serve.who.tokens import utc_text

__all__ = ["end_tokens"]

TABLE = schema.token


def end_tokens(connection: Connection, first: list[str]) -> None:
    """End tokens, from now on, and those that end with them."""
    now, ended = utc_text(datetime.now(UTC)), [*first]
    for each in ended:
        change = update(TABLE).where(TABLE.c.id == each, TABLE.c.revoked.is_(None))
        if connection.execute(change.values(revoked=now)).rowcount:
            record(connection, "token revoked", each)
        ended += connection.scalars(select(TABLE.c.id).where(TABLE.c.ends_with == each))
