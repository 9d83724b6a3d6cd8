"""May: the one function that says who may do what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["ANYBODY", "LEVELS", "Access", "Action", "Actor", "Level", "may"]

Level = Literal["public", "internal", "private"]
"""Who may read: anybody; who has an account; its readers, and who the namespace is called after."""
LEVELS: tuple[Level, ...] = get_args(Level)
Action = Literal["read", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks.

    Attributes:
        name: The account; empty for somebody without a token.
        admin: Whether the account may read everything.
        scopes: What the token is for.
        token: What its owner calls the token.
        id: The public part of the token.
    """

    name: str = ""
    admin: bool = False
    scopes: frozenset[str] = frozenset()
    token: str = ""
    id: str = ""


ANYBODY = Actor()
"""Somebody without a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may do what with a repository: its ``namespace``, its ``level``, and its ``readers``."""

    namespace: str
    level: Level = "internal"
    readers: frozenset[str] = frozenset()


def may(actor: Actor, action: Action, access: Access) -> bool:
    """Whether somebody may do something with a repository, which need not be there."""
    if action != "read":
        return bool(actor.name)  # XXX until roles are merged
    if access.level == "public":
        return True
    if not actor.name or action not in actor.scopes:
        return False
    if access.level == "internal" or actor.admin:
        return True
    return actor.name == access.namespace or actor.name in access.readers
