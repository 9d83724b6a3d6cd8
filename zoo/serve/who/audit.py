"""Audit: who changed what, and what was refused to whom; a table that only grows.

Each row has the hash of the row before it, so that nobody changes, takes out or adds one in between
without making all later ones anew. What was cut off at the end does not show: for that the newest
number and hash, the *head*, are told elsewhere (`zoo.serve.watch`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock

from sqlalchemy import Connection, Engine, Select, insert, or_, select

from zoo import config
from zoo.domain.progress import clean
from zoo.domain.result import Result
from zoo.errors import ZooError
from zoo.registry.engine import reading, writing
from zoo.serve.who import schema
from zoo.serve.who.tokens import utc_text, without_tokens

__all__ = [
    "ACTIONS",
    "Audit",
    "AuditHead",
    "Origin",
    "Row",
    "as_kept",
    "asked_by",
    "asked_from",
    "record",
]

LOG = logging.getLogger("zoo.serve")
ACTIONS: Mapping[str, str] = {
    "account made": "somebody has an account, or is an admin",
    "set up": "the first account was made, by the link that zoo serve printed",
    "account deleted": "it and its tokens are gone",
    "team made": "a team has a namespace",
    "team deleted": "it and its roles are gone",
    "token made": "a token, by its id; what it is for",
    "token used": "it was used for the first time",
    "token revoked": "it ended",
    "session begun": "somebody has signed in with a token, in a browser",
    "session ended": "they have signed out",
    "refreshed twice": "what a token is refreshed by was used again: all of that login ended",
    "device let in": "somebody has confirmed the code of a program, which gets a token",
    "device refused": "they have not",
    "provider added": "people may sign in by it",
    "provider removed": "they may not any more",
    "team rule ended": "a group of it gives no role in a team any more, as that was deleted",
    "identity linked": "who signs in there so is that account here",
    "identity unlinked": "they are not any more",
    "signed in": "somebody has signed in by a provider",
    "publisher added": "what jobs get a token for a while, and for what",
    "publisher removed": "they get none any more, and those that they have end",
    "token exchanged": "a job got a token, for what its issuer says of it",
    "role given": "an account or a team has a role",
    "role taken": "it has none any more",
    "level set": "who may read a namespace or a repository",
    "rules copied": "what was said of a name is said of its new one",
    "pattern set": "names that stay where they are",
    "pattern ended": "they may move again",
    "quota set": "how many bytes a namespace may hold",
    "repository made": "an empty one",
    "repository deleted": "all its names were",
    "repository moved": "it has another name",
    "name moved": "a branch is at another version",
    "name made": "a branch or a tag",
    "name protected": "a tag, which stays where it is",
    "name unprotected": "it may move again",
    "signature added": "somebody put a signature of a checkpoint under that name",
    "name deprecated": "it is to be used no more, and why",
    "name undeprecated": "it may be used again",
    "name deleted": "a branch or a tag is gone",
    "name restored": "one that was deleted is there again",
    "run reported": "another machine tells of a fine-tune, by its id",
    "run deleted": "what was told of it is gone",
    "webhook added": "an address that is told of changes",
    "webhook removed": "it is told no more",
    "webhook changed": "another address is told, or of something else",
    "webhook disabled": "it is told nothing for now",
    "webhook enabled": "it is told again",
    "pruned": "what nothing reaches was deleted",
    "damage found": "what lies in the store is not what was stored",
    "refused": "a token that is none, or what its account may not do",
}
"""What is told, and what it means; the page has the table."""
OTHERS: Mapping[str, str] = {"repository moved": "to ", "rules copied": "from "}
"""Actions of which the detail is another name, behind a word."""
NOTHING = "0" * 64
"""What the first row has for the hash of the row before."""
TABLE = schema.audit
LONGEST = 500
"""Letters of a text in a row."""
MINUTE, MOST = 60.0, 60
"""Rows of refused tries in a minute, of a process: nobody fills the disk by asking."""


@dataclass(slots=True, kw_only=True)
class Origin:
    """Who asks: the account, the public part of the token, the address that it came from, and the
    request's id. On the command line, and for what the server does by itself, there is no address.
    Threads that answer a request share one, and note whose it is.
    """

    who: str = ""
    token: str = ""
    address: str = ""
    request: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Row(Result):
    """A row.

    Attributes:
        number: Counted from 1.
        at: When, UTC, ISO 8601.
        who: The account; on the command line, who works there; empty for nobody known.
        token: The public part of the token.
        address: Where the request came from.
        action: A key of `ACTIONS`.
        name: What it was done with: a name, a namespace, an account, a token.
        detail: What else is to be known of it.
        result: ``done``, or the code of the refusal.
        request: The request's id.
        before: The hash of the row before.
        hash: The SHA-256 of all others, as a list in JSON without spaces.
    """

    number: int
    at: str
    who: str
    token: str
    address: str
    action: str
    name: str
    detail: str
    result: str
    request: str
    before: str
    hash: str

    @property
    def other(self) -> str:
        """The other name that the detail tells of, which not all may read who may read this one."""
        begin = OTHERS.get(self.action)
        return self.detail.removeprefix(begin) if begin else ""


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The newest row's number and hash."""

    number: int = 0
    hash: str = NOTHING

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


_ORIGIN: ContextVar[Origin | None] = ContextVar("origin", default=None)


@contextmanager
def asked_from(address: str, request: str) -> Iterator[Origin]:
    """Within, what is recorded is what a request from ``address`` does."""
    origin = Origin(address=address, request=request)
    token = _ORIGIN.set(origin)
    try:
        yield origin
    finally:
        _ORIGIN.reset(token)


def asked_by(who: str, token: str) -> None:
    """Note whose request it is, if it is one."""
    if origin := _ORIGIN.get():
        origin.who, origin.token = who, token


def record(
    connection: Connection, action: str, name: str, detail: str = "", *, result: str = "done"
) -> None:
    """Add a row in a transaction that writes, which holds the lock of all writers."""
    assert action in ACTIONS, action
    origin, newest = _ORIGIN.get() or Origin(who=config.author()), head(connection)
    row = {
        "number": newest.number + 1,
        "at": utc_text(datetime.now(UTC)),
        "who": as_kept(origin.who),
        "token": as_kept(origin.token),
        "address": as_kept(origin.address),
        "action": action,
        "name": as_kept(name),
        "detail": as_kept(detail),
        "result": result,
        "request": as_kept(origin.request),
        "before": newest.hash,
    }
    connection.execute(insert(TABLE), {**row, "hash": _hash([*row.values()])})


def head(connection: Connection) -> AuditHead:
    """The newest row's number and hash."""
    statement = select(TABLE.c.number, TABLE.c.hash).order_by(TABLE.c.number.desc()).limit(1)
    row = connection.execute(statement).one_or_none()
    return AuditHead(*row) if row else AuditHead()


@dataclass
class _Refusals:
    """Counts refused tries: of each kind, and of all, so many are told in a minute."""

    began: float = 0.0
    seen: set[tuple[str, ...]] = field(default_factory=set)
    left_out: int = 0
    lock: Lock = field(default_factory=Lock)

    def take(self, kind: tuple[str, ...]) -> int | None:
        """How many were left out since one was told; None if this one is, too."""
        with self.lock:
            if time.monotonic() - self.began >= MINUTE:
                self.began, self.seen = time.monotonic(), set()
            if kind in self.seen or len(self.seen) >= MOST:
                self.left_out += 1
                return None
            self.seen.add(kind)
            left_out, self.left_out = self.left_out, 0
            return left_out


class Audit:
    """The rows."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._refusals = engine, _Refusals()

    def note(self, action: str, name: str, detail: str = "", *, result: str = "done") -> None:
        """Add a row for what was done elsewhere than in this database; it cannot be undone if there
        can be none.
        """
        try:
            with writing(self._engine) as connection:
                record(connection, action, name, detail, result=result)
        except ZooError as error:
            LOG.error("the audit log lacks that %s: %s %s (%s)", action, name, detail, error)

    def refuse(self, code: str, name: str, asked: str) -> None:
        """Add a row for what was refused, unless much was just now."""
        origin = _ORIGIN.get() or Origin()
        left_out = self._refusals.take((origin.address, origin.who, origin.token, code, name))
        if left_out is None:
            return
        more = f"; {left_out} more refused tries before it have no row" if left_out else ""
        self.note("refused", name, f"{asked}{more}", result=code)

    def head(self) -> AuditHead:
        """The newest row's number and hash."""
        with reading(self._engine) as connection:
            return head(connection)

    def rows(
        self, *, since: str = "", who: str = "", name: str = "", after: int = 0, limit: int
    ) -> list[Row]:
        """Rows behind the number ``after``, oldest first."""
        statement = _chosen(since, who, name, ()).where(TABLE.c.number > after)
        with reading(self._engine) as connection:
            rows = connection.execute(statement.order_by(TABLE.c.number).limit(limit))
            return [Row(**row._mapping) for row in rows]

    def newest(
        self,
        *,
        since: str = "",
        who: str = "",
        name: str = "",
        actions: Collection[str] = (),
        before: int = 0,
        limit: int,
    ) -> list[Row]:
        """The newest rows, or the newest ``before`` a number, oldest first; those of some
        ``actions``, or of all.
        """
        statement = _chosen(since, who, name, actions).order_by(TABLE.c.number.desc())
        if before:
            statement = statement.where(TABLE.c.number < before)
        with reading(self._engine) as connection:
            rows = connection.execute(statement.limit(limit))
            return [Row(**row._mapping) for row in rows][::-1]

    def check(self) -> tuple[AuditHead, list[str]]:
        """The head, and what is wrong with the rows before it, in words."""
        before, wrong = AuditHead(), []
        with reading(self._engine) as connection:
            rows = connection.execution_options(yield_per=1000).execute(
                select(TABLE).order_by(TABLE.c.number)
            )
            for row in rows:
                *values, row_hash = row
                if row.number != before.number + 1:
                    wrong.append(f"row {before.number + 1} is missing")
                elif row.before != before.hash:
                    wrong.append(f"row {row.number} does not follow the one before it")
                if _hash(values) != row_hash:
                    wrong.append(f"row {row.number} was changed")
                before = AuditHead(row.number, row_hash)
        return before, wrong


def _chosen(
    since: str, who: str, name: str, actions: Collection[str]
) -> Select[tuple[object, ...]]:
    """The rows that are asked for: a name stands for all that begins with it and goes on with a
    slash or a colon.
    """
    statement = select(TABLE)
    if since:
        statement = statement.where(TABLE.c.at >= since)
    if who:
        statement = statement.where(TABLE.c.who == who)
    if actions:
        statement = statement.where(TABLE.c.action.in_(actions))
    if name:
        inside = (schema.below(TABLE.c.name, name, mark) for mark in "/:")
        statement = statement.where(or_(TABLE.c.name == name, *inside))
    return statement


def _hash(values: list[object]) -> str:
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def as_kept(text: str) -> str:
    """A text that no line is broken by, without the secret of a token."""
    return without_tokens(clean(text))[:LONGEST]
