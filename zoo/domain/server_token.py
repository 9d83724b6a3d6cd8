"""Server token: one of an account at a server, without its secret, as its owner sees it."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.domain.plain import Json
from zoo.domain.result import Result

__all__ = ["MadeToken", "ServerToken"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ServerToken(Result):
    """A token.

    Attributes:
        id: The public part of it.
        name: What its owner calls it.
        purpose: What it is for: ``read``, ``append`` or ``write``.
        only: The namespaces and repositories that it is for; empty: all.
        made: When it was made; all times are UTC, ISO 8601.
        expires: When it ends, if it does.
        used: When it was used last, within a minute.
        ended: Why it is none any more; empty if it is one.
        ends_with: The token that it ends with, if it does.
        here: Whether it is the one by which this was asked.
    """

    id: str
    name: str
    purpose: str
    only: tuple[str, ...]
    made: str
    expires: str | None
    used: str | None
    ended: str
    ends_with: str | None
    here: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class MadeToken(Result):
    """A token that was made just now; it prints itself without the secret.

    Attributes:
        made: It, as it is listed.
        secret: The token itself, which nobody can read again.
    """

    made: ServerToken
    secret: str

    def to_json(self) -> Json:
        """Plain data for JSON, the secret as ``token``."""
        return {**self.made.to_json(), "token": self.secret}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.made!r})"
