"""Setup: a link by which whoever opens it makes the first account, an admin's, while there is none.

The key in it is signed, so all that serve a zoo know it and nothing is kept of it; what was used,
or has ended with who printed it, is kept as a hash until it would have expired.
"""

from __future__ import annotations

import secrets
import time

from sqlalchemy import Connection, Engine, func, select

from zoo.errors import Conflict
from zoo.registry.engine import reading, writing
from zoo.serve.who import schema
from zoo.serve.who.audit import record
from zoo.serve.who.seals import Seal, Seals
from zoo.serve.who.spent import is_spent, spend_once

__all__ = ["LASTS", "Setup"]

LASTS = 3600
"""Seconds in which the link is to be used."""
WHAT = "setup"
USERS = select(func.count()).select_from(schema.account).where(~schema.account.c.team)


class Setup:
    """The link for the first account of a zoo."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def needed(self) -> bool:
        """Whether nobody has an account yet."""
        with reading(self._engine) as connection:
            return not connection.scalar(USERS)

    def key(self, seals: Seals) -> str:
        """A new key."""
        expires, nonce = int(time.time()) + LASTS, secrets.token_urlsafe(32)
        seal = Seal(token="", repo="", what=WHAT, of="", upload=nonce, expires=expires)
        return seals.write(seal)

    def find(self, seals: Seals, key: str) -> Seal | None:
        """What a key allows; None if it is none, is over, or somebody has an account by now."""
        seal = seals.read(key, WHAT)
        with reading(self._engine) as connection:
            over = seal is None or connection.scalar(USERS) or is_spent(connection, seal.upload)
        return None if over else seal

    def use(self, connection: Connection, seal: Seal, name: str) -> None:
        """Note that the account ``name`` was made by a key, in the transaction that makes it.

        Raises:
            Conflict: Somebody else was faster.
        """
        if connection.scalar(USERS) != 1:
            raise Conflict("somebody has an account by now")
        spend_once(connection, seal.upload, LASTS)
        record(connection, "set up", name, "by the link that zoo serve printed")

    def end(self, seals: Seals, key: str) -> None:
        """Have a key allow nothing more.

        Raises:
            Conflict: It was used.
        """
        if seal := seals.read(key, WHAT):
            with writing(self._engine) as connection:
                spend_once(connection, seal.upload, LASTS)
