"""Audit: who changed what, and what was refused; all of it for admins, and what was done with what
they own for others.
"""

from __future__ import annotations

from dataclasses import dataclass

from zoo.domain.progress import clean
from zoo.domain.reference import Reference, check_namespace
from zoo.errors import InvalidReference
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.pages.number import number_in
from zoo.serve.who.audit import ACTIONS, Row
from zoo.serve.who.may import governs

__all__ = ["AuditPage", "Event", "events_of", "look_audit"]

PAGE = 50
LETTERS = 200
"""Of what is looked for: links repeat it."""
OF_PEOPLE = ("account", "token", "session", "device", "provider", "identity", "signed")
"""Actions of which the name is an account, a token or a provider, which a namespace may be called
like.
"""
OF_NAMES = tuple(each for each in ACTIONS if each.partition(" ")[0] not in OF_PEOPLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A row of the log.

    Attributes:
        number: Counted from 1.
        at: When.
        who: The account; empty for nobody known.
        token: The public part of the token; empty for who is no admin.
        address: Where it came from; empty for who is no admin, and on the command line.
        action: What was done.
        name: With what.
        detail: What else is to be known of it; empty if it is a name that who asks may not read.
        result: ``done``, or the code of the refusal.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Some of the log, newest first.

    Attributes:
        everything: Whether it is of all that was done.
        who: The account that it is of; empty: all.
        action: The action; empty: all.
        name: What it was done with, and what is below that; empty: all.
        actions: Those that there are.
        rows: The rows.
        older: What ``before`` is on the next page; 0 if there is none.
        newest: Whether this is the first page.
        total: The number of the newest row.
        head: Its hash.
    """

    everything: bool
    who: str
    action: str
    name: str
    actions: tuple[str, ...]
    rows: tuple[Event, ...]
    older: int
    newest: bool
    total: int
    head: str


def look_audit(ask: Ask) -> AuditPage:
    """What is asked for. Raises `Refused` if who asks may not see it, whatever it is."""
    who, action, name = (
        clean(ask.call.query.get(each, ""))[:LETTERS] for each in ("who", "action", "name")
    )
    everything = governs(ask.actor)
    if not (everything or _owns(ask, name)):
        raise Refused("NotFound", "there is no such log, or it is of what is not yours")
    wanted = () if everything else OF_NAMES
    if action:
        wanted = tuple(each for each in wanted or ACTIONS if each == action) or ("",)
    before = number_in(ask.call, "before", least=0)
    rows = ask.hub.accounts.audit.newest(
        who=who, name=name, actions=wanted, before=before, limit=PAGE + 1
    )[::-1]
    head = ask.hub.accounts.audit.head()
    return AuditPage(
        everything=everything,
        who=who,
        action=action,
        name=name,
        actions=tuple(ACTIONS) if everything else OF_NAMES,
        rows=tuple(_event(ask, row) for row in rows[:PAGE]),
        older=rows[PAGE - 1].number if len(rows) > PAGE else 0,
        newest=not before,
        total=head.number if everything else 0,
        head=head.hash if everything else "",
    )


def events_of(ask: Ask, path: str, most: int) -> tuple[Event, ...]:
    """What was done last with what who asks owns, newest first."""
    rows = ask.hub.accounts.audit.newest(name=path, actions=OF_NAMES, limit=most)
    return tuple(_event(ask, row) for row in rows[::-1])


def _owns(ask: Ask, name: str) -> bool:
    path = name.partition(":")[0]
    try:
        if "/" in path:
            Reference.parse(path)
        else:
            check_namespace(path)
    except InvalidReference:
        return False
    return not ask.hub.alone and ask.may("share", path)


def _event(ask: Ask, row: Row) -> Event:
    everything = governs(ask.actor)
    shown = not row.other or everything or ask.may("read", row.other)
    return Event(
        number=row.number,
        at=row.at,
        who=row.who,
        token=row.token if everything else "",
        address=row.address if everything else "",
        action=row.action,
        name=row.name,
        detail=row.detail if shown else "",
        result=row.result,
    )
