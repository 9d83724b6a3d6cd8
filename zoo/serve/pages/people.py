"""People: who has an account, and the teams; for admins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from zoo.domain.progress import clean
from zoo.domain.server_token import ServerToken
from zoo.errors import InvalidOption
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.tokens import tokens_of
from zoo.serve.pages.form import Form
from zoo.serve.pages.settings import RoleRow, held_by
from zoo.serve.pages.tokens import make_token, revoke_token
from zoo.serve.who.accounts import Account, Token
from zoo.serve.who.may import PURPOSES
from zoo.serve.who.newcomer import add_account
from zoo.serve.who.tokens import utc_text
from zoo.store.capabilities import folders

__all__ = [
    "FORMS",
    "PERSON_FORMS",
    "People",
    "Person",
    "Team",
    "User",
    "look_people",
    "look_person",
]

SHOWN, LETTERS = 100, 128
"""Accounts on the page, and teams, and other namespaces; letters of what is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who has an account.

    Attributes:
        name: What it is called.
        admin: Whether they may do everything.
        made: When it was made.
        tokens: How many tokens of theirs are good.
        used: When one was used last, if one was.
    """

    name: str
    admin: bool
    made: str
    tokens: int
    used: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """A team: its name, when it was made, and the roles of its members."""

    name: str
    made: str
    members: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Who there is, by name.

    Attributes:
        query: What their names must have in them; empty: all.
        users: Who has an account, some of them.
        teams: Teams, some of them.
        others: The other namespaces: those of which something was said, or in which there is
            something; some of them.
        left: How many are left out.
        lasting: Whether who asks may make accounts: they outlast a token that expires.
    """

    query: str
    users: tuple[User, ...]
    teams: tuple[Team, ...]
    others: tuple[str, ...]
    left: int
    lasting: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who has an account: what is known of it, and their tokens and roles."""

    name: str
    admin: bool
    made: str
    tokens: tuple[ServerToken, ...]
    roles: tuple[RoleRow, ...]


def look_people(ask: Ask) -> People:
    """Who there is, of whom ``?q=`` is in the name."""
    query = clean(ask.call.query.get("q", ""))[:LETTERS]
    now = utc_text(datetime.now(UTC))
    tokens: dict[str, list[Token]] = {}
    for each in ask.hub.accounts.tokens():
        if not each.revoked and (each.expires is None or each.expires > now):
            tokens.setdefault(each.account, []).append(each)
    roles: dict[str, Mapping[str, str]] = {given.path: given.roles for given in ask.rules.given()}
    everybody = ask.hub.accounts.all()
    users, teams = (
        [e for e in everybody if query in e.name and e.team == is_team] for is_team in (False, True)
    )
    named = {each.name for each in everybody}
    namespaces = {path.partition("/")[0] for path in roles}
    namespaces |= {*folders(ask.hub.workspace.store.backend, "refs/")}
    others = sorted(each for each in namespaces - named if query in each)
    return People(
        query=query,
        users=tuple(_user(each, tokens.get(each.name, [])) for each in users[:SHOWN]),
        teams=tuple(
            Team(name=each.name, made=each.made, members=roles.get(each.name, {}))
            for each in teams[:SHOWN]
        ),
        others=tuple(others[:SHOWN]),
        left=sum(max(0, len(each) - SHOWN) for each in (users, teams, others)),
        lasting=not ask.actor.ends,
    )


def _user(account: Account, tokens: list[Token]) -> User:
    return User(
        name=account.name,
        admin=account.admin,
        made=account.made,
        tokens=len(tokens),
        used=max((each.used or "" for each in tokens), default=""),
    )


def look_person(ask: Ask, user: str) -> Person:
    """Somebody. Raises `Refused` if there is no such account."""
    account = {each.name: each for each in ask.hub.accounts.all() if not each.team}.get(user)
    if account is None:
        raise Refused("NotFound", f"there is no account '{user}'")
    actor = ask.hub.accounts.actor(user)
    return Person(
        name=user,
        admin=account.admin,
        made=account.made,
        tokens=tokens_of(ask, user),
        roles=held_by(ask, user, actor.teams if actor else frozenset()),
    )


def _add_user(ask: Ask, form: Form) -> str:
    """Make an account; its first token. Both last: by a token that expires, whoever has stolen it
    would keep them.
    """
    if ask.actor.ends:
        text = "making an account takes being signed in by a token that does not expire"
        raise Refused("Forbidden", f"{text}; whoever runs this server can: zoo serve user add")
    name, accounts = form.text("name"), ask.hub.accounts
    if (purpose := form.text("purpose") or "read") not in PURPOSES:
        raise InvalidOption(f"a token is for one of: {', '.join(PURPOSES)}")
    add_account(ask.hub.workspace, accounts, name, admin=form.text("admin") == "yes")
    return str(accounts.new_token(name, "first", purpose)[1])


def _add_team(ask: Ask, form: Form) -> None:
    ask.hub.accounts.add(form.text("name"), team=True)


def _remove(ask: Ask, form: Form) -> None:
    name = form.text("name")
    if name == ask.actor.name:
        raise InvalidOption("that is your own account: another admin can delete it")
    ask.hub.accounts.remove(name, team=form.text("kind") == "team", by=ask.actor.name)


FORMS = {"add-user": _add_user, "add-team": _add_team, "remove": _remove}
"""What the forms of the page of all do."""


PERSON_FORMS = {"make": make_token, "revoke": revoke_token}
"""What those of the page of one do."""
