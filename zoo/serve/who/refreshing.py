"""Refreshing: a program that somebody has let in gets another token before its own expires, for one
that is good for that alone, and once (RFC 6749, section 6).

With each token comes the next to refresh by. One that is used a second time is in two hands: all
tokens that came of that login end. Of those to refresh by, the SHA-256 is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine, delete, insert, select, update

from zoo.errors import UnknownName
from zoo.registry.engine import reading, writing
from zoo.serve.who import schema
from zoo.serve.who.audit import record
from zoo.serve.who.devices import Entry
from zoo.serve.who.revoking import end_tokens
from zoo.serve.who.tokens import digest_of, utc_text

__all__ = ["Login", "Refreshing", "add_refresh", "spend_refresh"]

TABLE, TOKEN = schema.refresh, schema.token
LASTS = timedelta(days=180)
"""So long after the last token one can refresh: a login that nobody uses ends."""
STAYS = timedelta(days=1)
"""So much longer the token before is good, for work that goes on with it."""


@dataclass(frozen=True, slots=True)
class Login:
    """What came of somebody letting a program in: as ``entry`` says, and the first token of it;
    empty: that is made next.
    """

    entry: Entry
    first: str


class Refreshing:
    """What tokens are refreshed by."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def login(self, secret: str) -> Login | None:
        """The login that somebody may refresh the token of; None if nobody may by this, any more.

        Of one that was used before, all tokens end.
        """
        columns = (TABLE, TOKEN.c.account, TOKEN.c.name, TOKEN.c.purpose, TOKEN.c.revoked)
        rows = select(*columns).join(TOKEN, TOKEN.c.id == TABLE.c.token)
        with reading(self._engine) as connection:  # who only guesses has nobody wait
            row = connection.execute(rows.where(TABLE.c.digest == digest_of(secret))).first()
        if row is None or row.revoked or row.expires <= utc_text(datetime.now(UTC)):
            return None
        if row.used:
            with writing(self._engine) as connection:
                record(connection, "refreshed twice", row.token)
                made = select(TABLE.c.token).where(TABLE.c.first == row.first)
                end_tokens(connection, [*connection.scalars(made)])
            return None
        entry = Entry(account=row.account, name=row.name, purpose=row.purpose, token=row.by)
        return Login(entry, row.first)

    def refreshable(self) -> set[str]:
        """The tokens in whose place a program may get another one, expired or not."""
        rows = select(TABLE.c.token).where(
            TABLE.c.used.is_(None), TABLE.c.expires > utc_text(datetime.now(UTC))
        )
        with reading(self._engine) as connection:
            return {*connection.scalars(rows)}


def add_refresh(connection: Connection, token: str, *, secret: str, login: Login) -> None:
    """Keep what a token of a login is refreshed by, in the transaction that makes the token: else
    one that is lost in between could not be refreshed, nor ended with its login.
    """
    now = datetime.now(UTC)
    row = {
        "digest": digest_of(secret),
        "token": token,
        "by": login.entry.token,
        "first": login.first or token,
        "expires": utc_text(now + LASTS),
    }
    connection.execute(delete(TABLE).where(TABLE.c.expires <= utc_text(now)))
    connection.execute(insert(TABLE), row)


def spend_refresh(connection: Connection, secret: str) -> None:
    """Note that a token is refreshed, in the transaction that makes the next one.

    Raises:
        UnknownName: It was already.
    """
    now = datetime.now(UTC)
    which = TABLE.c.digest == digest_of(secret), TABLE.c.used.is_(None)
    if not connection.execute(update(TABLE).where(*which).values(used=utc_text(now))).rowcount:
        raise UnknownName("token", "to refresh by")
    before = select(TABLE.c.token).where(which[0]).scalar_subquery()
    soon = utc_text(now + STAYS)
    late = update(TOKEN).where(TOKEN.c.id == before, TOKEN.c.expires > soon)
    connection.execute(late.values(expires=soon))
