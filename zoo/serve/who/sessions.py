"""Sessions: who is signed in, in a browser. A session stands for the token that it was made with:
it has that one's rights, and none once that has ended.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, bindparam, delete, insert, select

from zoo.registry.engine import reading, writing
from zoo.serve.who import schema
from zoo.serve.who.audit import record
from zoo.serve.who.cache import ReadCache
from zoo.serve.who.revoking import end_tokens
from zoo.serve.who.tokens import digest_of, utc_text

__all__ = ["LASTS_DAYS", "Sessions"]

TABLE = schema.session
# Made once: that takes longer than to ask.
SESSION = select(TABLE.c.token, TABLE.c.expires).where(TABLE.c.digest == bindparam("digest"))
LASTS_DAYS = 14
"""A session ends after so many days; its token may end it sooner."""


class Sessions:
    """The sessions of a zoo's accounts. A secret has 256 bits, of which the SHA-256 is kept."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cache: ReadCache[tuple[str, str]] = ReadCache(engine)

    def close(self) -> None:
        """Let go of the database."""
        self._cache.close()

    def token(self, secret: str) -> str:
        """The public part of the token that a session stands for; empty if it is none, or has
        expired. Whether that token still holds, `Accounts.holder` tells.
        """
        digest = digest_of(secret)
        token_id, expires = self._cache.get(digest, lambda: self._read(digest))
        return token_id if expires > utc_text(datetime.now(UTC)) else ""

    def _read(self, digest: str) -> tuple[str, str]:
        with reading(self._engine) as connection:
            row = connection.execute(SESSION, {"digest": digest}).one_or_none()
        return (row.token, row.expires) if row else ("", "")

    def new(self, token_id: str, *, own: bool = False) -> str:
        """Begin a session of a token that is there; its secret. A token of its ``own`` ends with
        it.
        """
        secret, now = secrets.token_urlsafe(32), datetime.now(UTC)
        ends = now + timedelta(days=LASTS_DAYS)
        row = {
            "digest": digest_of(secret),
            "token": token_id,
            "expires": utc_text(ends),
            "own": own,
        }
        with writing(self._engine) as connection:
            connection.execute(delete(TABLE).where(TABLE.c.expires <= utc_text(now)))
            connection.execute(insert(TABLE), row)
            record(connection, "session begun", token_id)
        return secret

    def end(self, secret: str) -> None:
        """End a session, if it is one."""
        which = TABLE.c.digest == digest_of(secret)
        with writing(self._engine) as connection:
            there = connection.execute(select(TABLE).where(which)).one_or_none()
            if there is None:
                return
            connection.execute(delete(TABLE).where(which))
            record(connection, "session ended", there.token)
            if there.own:
                end_tokens(connection, [there.token])
