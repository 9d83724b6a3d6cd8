"""Devices: a program asks for a token, and shows a code; somebody who is signed in confirms it, and
the program, which asks again and again, has the token (RFC 8628).

All of it is in the database: whichever process is asked, it knows what the others do. The program's
own code has 256 bits, of which the SHA-256 is kept; the one that people type is short, so it comes
here as a hash that takes a key to make.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from time import time_ns

from sqlalchemy import ColumnElement, Connection, Engine, delete, insert, select, update

from zoo.domain.progress import clean
from zoo.errors import UnknownName
from zoo.registry.engine import reading, writing
from zoo.registry.sql import put
from zoo.serve.who import schema
from zoo.serve.who.audit import record
from zoo.serve.who.tokens import digest_of, utc_text

__all__ = [
    "LASTS",
    "MOST_TRIES",
    "PAUSE",
    "Device",
    "Devices",
    "Entry",
    "TooManyTries",
    "network_of",
    "new_code",
    "spend",
]

TABLE, TRIED = schema.device, schema.tried
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""Of a code: no vowels, which make words, and nothing that looks like something else."""
LASTS = timedelta(minutes=15)
PAUSE, MORE = 5, 5
"""Seconds between two questions of a program, and how many more each time that it does not wait."""
SLACK_MS = 500
"""So much sooner it may ask: clocks differ."""
MOST, MOST_OF_ADDRESS = 5_000, 60
"""Programs that wait at once, and those at one address."""
MOST_TRIES = 5
"""Wrong codes of one token in `LASTS`."""
LONGEST_PAUSE = 60_000
"""Milliseconds; it does not grow any further."""
LONGEST = 200
WAITS, LET_IN, REFUSED, OVER = "", "let in", "refused", "over"
"""Of a program; one that is over has its token, or knows that it gets none."""


class TooManyTries(Exception):
    """Somebody has given too many wrong codes."""


def new_code() -> str:
    """A code for people, of 34 bits: ``WDJB-MJHT``."""
    letters = "".join(secrets.choice(LETTERS) for _ in range(8))
    return f"{letters[:4]}-{letters[4:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A program that waits.

    Attributes:
        client: What it says that it is.
        address: Where it asked from.
        wants: What the token is to be for; empty: it did not say.
        expires: Until when it waits, UTC, ISO 8601.
    """

    client: str
    address: str
    wants: str
    expires: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a program is let in with: whose token it gets, what that is called and for, and the
    ``token`` of who has let it in.
    """

    account: str
    name: str
    purpose: str
    token: str


class Devices:
    """The programs that wait to be let in."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, code: str, *, client: str, address: str, wants: str) -> str | None:
        """Let a program wait, for which people type what has the hash ``code``; the code that it
        asks with. None if too many do at that address, or in its network of IPv6. Where too many do
        in all, the network with most of them loses its oldest.
        """
        secret, now = secrets.token_urlsafe(32), datetime.now(UTC)
        row = {
            "digest": digest_of(secret),
            "code": code,
            "client": clean(client)[:LONGEST],
            "address": address,
            "wants": wants,
            "expires": utc_text(now + LASTS),
            "next": 0,
            "pause": PAUSE * 1000,
            "state": WAITS,
            "account": None,
            "token": None,
            "purpose": "",
            "name": "",
        }
        with reading(self._engine) as connection:  # who is told no keeps nobody waiting
            waiting = _networks(connection, now)
        if len(waiting.get(network_of(address), ())) >= MOST_OF_ADDRESS:
            return None
        with writing(self._engine) as connection:
            if sum(map(len, waiting.values())) >= MOST:
                oldest = max(waiting.values(), key=len)[0]
                connection.execute(delete(TABLE).where(TABLE.c.digest == oldest))
            # For as long again, who asks is told that it has expired.
            connection.execute(delete(TABLE).where(TABLE.c.expires <= utc_text(now - LASTS)))
            connection.execute(insert(TABLE), row)
        return secret

    def find(self, code: str, token: str) -> Device | None:
        """The program that waits and shows what has that hash; None if none does, which counts as
        a wrong code of the token that asks, unless it was right before.

        Raises:
            TooManyTries: Too many were wrong.
        """
        now = datetime.now(UTC)
        columns = TABLE.c.client, TABLE.c.address, TABLE.c.wants, TABLE.c.expires
        with writing(self._engine) as connection:  # so that nobody tries many at once
            connection.execute(delete(TRIED).where(TRIED.c.until <= utc_text(now)))
            count = select(TRIED.c.count).where(TRIED.c.who == token)
            wrong = connection.scalar(count) or 0
            if wrong >= MOST_TRIES:
                raise TooManyTries
            if row := connection.execute(select(*columns).where(*_waiting(code))).first():
                return Device(**row._mapping)
            if connection.execute(select(TABLE.c.digest).where(TABLE.c.code == code)).first():
                return None
            until = utc_text(now + LASTS)
            tried = {"who": token, "count": wrong + 1, "until": until}
            put(connection, TRIED, [tried], ["count", "until"])
        return None

    def let_in(self, code: str, entry: Entry) -> bool:
        """Let a program in; whether it waits still."""
        row = {
            "state": LET_IN,
            "account": entry.account,
            "token": entry.token,
            "purpose": entry.purpose,
            "name": entry.name,
        }
        return self._decide(code, row, "device let in", entry.account, f"to {entry.purpose}")

    def refuse(self, code: str, account: str) -> bool:
        """Do not; whether it waits still."""
        return self._decide(code, {"state": REFUSED}, "device refused", account, "")

    def _decide(self, code: str, row: dict[str, str], action: str, account: str, more: str) -> bool:
        with writing(self._engine) as connection:
            there = connection.execute(select(TABLE).where(*_waiting(code))).first()
            if there is None:
                return False
            connection.execute(update(TABLE).where(TABLE.c.digest == there.digest).values(row))
            program = f"{there.client or 'a program'} at {there.address or 'no address'}"
            record(connection, action, account, f"{program} {more}".strip())
        return True

    def poll(self, secret: str) -> Entry | str:
        """What a program is let in with, until it has its token. Else the error of RFC 8628 that
        says why not, or not yet.
        """
        which, at = TABLE.c.digest == digest_of(secret), time_ns() // 1_000_000
        with reading(self._engine) as connection:  # who only asks all the time has nobody wait
            row = connection.execute(select(TABLE).where(which)).first()
        if row is None or row.state == OVER:
            return "invalid_grant"
        if row.pause >= LONGEST_PAUSE and at < row.next:
            return "slow_down"
        with writing(self._engine) as connection:
            row = connection.execute(select(TABLE).where(which)).first()
            if row is None:
                return "invalid_grant"
            if row.expires <= utc_text(datetime.now(UTC)):
                return "expired_token"
            late, pause = at >= row.next, row.pause
            pause += 0 if late else MORE * 1000
            turn = {"pause": pause, "next": at + pause - SLACK_MS}
            connection.execute(update(TABLE).where(which).values(turn))
            if not late:
                return "slow_down"
            if row.state == WAITS:
                return "authorization_pending"
            if row.state == REFUSED:
                connection.execute(update(TABLE).where(which).values(state=OVER))
                return "access_denied"
        return Entry(account=row.account, name=row.name, purpose=row.purpose, token=row.token)


def spend(connection: Connection, secret: str) -> None:
    """Note that a program which was let in gets its token, in the transaction that makes it.

    Raises:
        UnknownName: It has one, or was not let in.
    """
    which = TABLE.c.digest == digest_of(secret), TABLE.c.state == LET_IN
    if not connection.execute(update(TABLE).where(*which).values(state=OVER)).rowcount:
        raise UnknownName("device", "of that code")


def network_of(address: str) -> str:
    """Where somebody is who may have more addresses than this one: with IPv6 all of a /64."""
    return str(ip_network(f"{address}/64", strict=False)) if ":" in address else address


def _networks(connection: Connection, now: datetime) -> dict[str, list[str]]:
    """The programs that wait in each network, the oldest first."""
    networks: dict[str, list[str]] = {}
    columns = TABLE.c.address, TABLE.c.digest
    waits = (TABLE.c.expires > utc_text(now)) & (TABLE.c.state != OVER)
    for row in connection.execute(select(*columns).where(waits).order_by(TABLE.c.expires)):
        networks.setdefault(network_of(row.address), []).append(row.digest)
    return networks


def _waiting(code: str) -> tuple[ColumnElement[bool], ...]:
    now = utc_text(datetime.now(UTC))
    return TABLE.c.code == code, TABLE.c.state == WAITS, TABLE.c.expires > now
