"""May: the one function that says who may do what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

__all__ = [
    "ACTIONS",
    "ANYBODY",
    "LEVELS",
    "PURPOSES",
    "ROLES",
    "Access",
    "Action",
    "Actor",
    "Level",
    "Purpose",
    "Role",
    "all_may_read",
    "as_seen",
    "governs",
    "kind_of_move",
    "may",
    "role_of",
]

Level = Literal["public", "internal", "private"]
"""Who may read: anybody; who has an account; who has a role."""
LEVELS: tuple[Level, ...] = get_args(Level)
Role = Literal["reader", "writer", "maintainer", "owner"]
"""What somebody is in a namespace or of a repository; each may do what those before it may."""
ROLES: tuple[Role, ...] = get_args(Role)
Purpose = Literal["read", "append", "write"]
"""What a token is for: to read; also to add repositories and files, and change or remove none; to
do all that its account may.
"""
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
Action = Literal["read", "write", "force", "protect", "delete", "share"]


class _Needs(NamedTuple):
    role: Role
    purpose: Purpose


ACTIONS: Mapping[Action, _Needs] = {
    # See that it is there, its files, its history.
    "read": _Needs("reader", "read"),
    # Make it, a new version of a name that goes on from the one before, a new branch or tag.
    "write": _Needs("writer", "append"),
    # Move a name elsewhere, delete a branch or a tag.
    "force": _Needs("writer", "write"),
    # The same with a name that is protected.
    "protect": _Needs("maintainer", "write"),
    # Delete it or give it another name.
    "delete": _Needs("owner", "write"),
    # Say who may read it.
    "share": _Needs("owner", "write"),
}
"""What each action needs: a role, and a token that is for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks.

    Attributes:
        name: The account; empty for somebody without a token.
        admin: Whether the account may do everything.
        teams: Those that it is in.
        purpose: What the token is for.
        only: The namespaces and repositories that it is for; empty if it is for all.
        token: What its owner calls the token.
        id: The public part of the token.
        ends: Whether the token expires.
    """

    name: str = ""
    admin: bool = False
    teams: frozenset[str] = frozenset()
    purpose: Purpose = "read"
    only: frozenset[str] = frozenset()
    token: str = ""
    id: str = ""
    ends: bool = False

    @property
    def unlimited(self) -> bool:
        """Whether the token is for all that its account may."""
        return self.purpose == "write" and not self.only

    @property
    def may_link(self) -> bool:
        """Whether they may say who else signs in as the account. By a token that expires they may
        not: that would outlast it, for whoever has stolen it.
        """
        return self.unlimited and not self.ends


ANYBODY = Actor()
"""Somebody without a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may do what with a repository, or a namespace: its ``path``, its ``level``, and the
    ``roles`` of accounts and teams.
    """

    path: str
    level: Level = "internal"
    roles: Mapping[str, Role] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """The namespace."""
        return self.path.partition("/")[0]


def as_seen(actor: Actor, access: Access) -> Actor:
    """Who somebody is for a repository: what a token is not for, it does not show."""
    if actor.only and not actor.only & {access.path, access.namespace}:
        return ANYBODY
    return actor


def governs(actor: Actor) -> bool:
    """Whether somebody may change what is said of everybody: an admin, with a token for all."""
    return actor.admin and actor.unlimited


def role_of(actor: Actor, access: Access) -> Role | None:
    """The role that somebody has; None if they may not read, either."""
    actor = as_seen(actor, access)
    if actor.admin or (actor.name and actor.name == access.namespace):
        return "owner"
    given = {access.roles[who] for who in (actor.name, *actor.teams) if who in access.roles}
    if access.level == "public" or (access.level == "internal" and actor.name):
        given.add("reader")
    return max(given, key=ROLES.index, default=None)


def may(actor: Actor, action: Action, access: Access) -> bool:
    """Whether somebody may do something with a repository, which need not be there."""
    role, needs = role_of(actor, access), ACTIONS[action]
    if role is None or ROLES.index(role) < ROLES.index(needs.role):
        return False
    return PURPOSES.index(actor.purpose) >= PURPOSES.index(needs.purpose)


def all_may_read(other: Access, readers: Access) -> bool:
    """Whether whoever may read one repository, ``readers``, may read the other, too, with a token
    that is for both.
    """
    if other.path == readers.path or other.level == "public":
        return True
    if readers.level == "public":
        return False
    if other.level == "internal":
        return True
    # Who is called as a namespace owns what is in it.
    they, others = ({each.namespace, *each.roles} for each in (readers, other))
    return readers.level == "private" and they <= others


def kind_of_move(*, there: bool, onward: bool, protected: bool) -> Action:
    """Which action it is to move or delete a name: whether it is ``there``, goes ``onward`` to what
    was made from what it has, and is ``protected`` once it is there.
    """
    if there and protected:
        return "protect"
    return "write" if onward or not there else "force"
