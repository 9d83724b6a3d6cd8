"""Settings: the tokens, teams and roles of who is signed in."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.domain.server_token import ServerToken
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.tokens import tokens_of
from zoo.serve.pages.form import Form
from zoo.serve.pages.tokens import make_token, revoke_token
from zoo.serve.who.may import as_seen
from zoo.serve.who.providers import Identity

__all__ = ["FORMS", "RoleRow", "Settings", "held_by", "look_settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRow:
    """A role.

    Attributes:
        path: The namespace or repository that it is for.
        role: What it is.
        by: The team that it was given to; empty: to the account itself.
        team: Whether the namespace is a team's, and the role makes who has it one of its members.
        owned: Whether who asks may say who may do what there.
    """

    path: str
    role: str
    by: str
    team: bool
    owned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What somebody has here.

    Attributes:
        name: The account.
        admin: Whether it may do everything.
        purpose: What the token is for by which they are signed in.
        only: The names that it is for; empty: all.
        unlimited: Whether it is for all that the account may: else nothing can be changed.
        may_link: Whether they may say who else signs in as this account.
        tokens: The tokens of the account.
        roles: Its roles, and those of its teams.
        providers: By which services people sign in.
        identities: Who signs in by one so is this account.
    """

    name: str
    admin: bool
    purpose: str
    only: tuple[str, ...]
    unlimited: bool
    may_link: bool
    tokens: tuple[ServerToken, ...]
    roles: tuple[RoleRow, ...]
    providers: tuple[str, ...]
    identities: tuple[Identity, ...]


def look_settings(ask: Ask) -> Settings:
    """What who asks has here.

    Raises:
        Refused: It is somebody's own zoo, without accounts.
    """
    actor = ask.actor
    if ask.hub.alone:
        raise Refused("NotFound", "there are no accounts in your own zoo")
    return Settings(
        name=actor.name,
        admin=actor.admin,
        purpose=actor.purpose,
        only=tuple(sorted(actor.only)),
        unlimited=actor.unlimited,
        may_link=actor.may_link,
        tokens=tokens_of(ask, actor.name),
        roles=held_by(ask, actor.name, actor.teams),
        providers=tuple(each.name for each in ask.hub.accounts.providers.all()),
        identities=_identities(ask) if not actor.only else (),
    )


def _identities(ask: Ask) -> tuple[Identity, ...]:
    identities = ask.hub.accounts.providers.identities()
    return tuple(each for each in identities if each.account == ask.actor.name)


def held_by(ask: Ask, account: str, teams: frozenset[str]) -> tuple[RoleRow, ...]:
    """The roles of an account and its teams, as far as the token of who asks is for these names."""
    named = {each.name for each in ask.hub.accounts.all() if each.team}
    return tuple(
        RoleRow(
            path=given.path,
            role=given.roles[who],
            by="" if who == account else who,
            team=given.path in named and who == account,
            owned=ask.may("share", given.path),
        )
        for given in ask.rules.given()
        for who in (account, *sorted(teams))
        if who in given.roles and as_seen(ask.actor, ask.rules.access(given.path)) == ask.actor
    )


def _check(ask: Ask) -> str:
    """The account whose tokens who asks may make and revoke.

    Raises:
        Refused: They are signed in by a token that is not for that.
    """
    if ask.hub.alone:
        raise Refused("NotFound", "there are no accounts in your own zoo")
    ask.check_unlimited()
    return ask.actor.name


def _make(ask: Ask, form: Form) -> str:
    return make_token(ask, form, _check(ask))


def _revoke(ask: Ask, form: Form) -> None:
    revoke_token(ask, form, _check(ask))


def _unlink(ask: Ask, form: Form) -> None:
    """Have somebody sign in as the account no more. A session by a provider may do that, too."""
    account = _check(ask)
    # As they were sent: a subject may begin with a space.
    issuer, subject = (form.fields.get(name, [""])[-1] for name in ("issuer", "subject"))
    ask.hub.accounts.providers.unlink(issuer, subject, account=account)


FORMS = {"make": _make, "revoke": _revoke, "unlink": _unlink}
"""What the forms of the page do."""
