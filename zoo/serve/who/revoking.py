"""Revoking: a token ends, and with it those that were made by it."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, select, update

from zoo.serve.who import schema
from zoo.serve.who.audit import record
from zoo.serve.who.tokens import utc_text

__all__ = ["end_tokens"]

TABLE, REFRESH = schema.token, schema.refresh


def end_tokens(connection: Connection, first: list[str]) -> None:
    """End tokens, from now on, those that end with them, and those that a program has got in the
    place of one of them.
    """
    now, ended = utc_text(datetime.now(UTC)), [*first]
    for each in ended:
        change = update(TABLE).where(TABLE.c.id == each, TABLE.c.revoked.is_(None))
        if connection.execute(change.values(revoked=now)).rowcount:
            record(connection, "token revoked", each)
        login = select(REFRESH.c.first).where(REFRESH.c.token == each).scalar_subquery()
        others = select(REFRESH.c.token).where(REFRESH.c.first == login)
        made = select(TABLE.c.id).where(TABLE.c.ends_with == each)
        ended += dict.fromkeys(connection.scalars(made.union(others))).keys() - {*ended}
