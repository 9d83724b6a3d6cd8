"""Tokens: those that a user has at a server."""

from __future__ import annotations

import msgspec

from zoo.domain.progress import clean
from zoo.domain.server_token import MadeToken, ServerToken
from zoo.errors import InvalidOption, UnknownName
from zoo_http.session import JSON, Session

__all__ = ["HttpTokens"]

PATH = "/tokens"
LETTERS = 500
BAD, GONE = 400, 404


class _Tokens(msgspec.Struct):
    tokens: tuple[ServerToken, ...]


class _Made(msgspec.Struct):
    made: ServerToken
    token: str


class HttpTokens:
    """The tokens of who is logged in at a server. Implements `zoo.contracts.Tokens`."""

    def __init__(self, location: str) -> None:
        self._session = Session.of(location)

    def all(self) -> tuple[ServerToken, ...]:
        """See `zoo.contracts.Tokens.all`."""
        return self._session.read(PATH, _Tokens).tokens

    def make(self, name: str, purpose: str, only: tuple[str, ...], days: int | None) -> MadeToken:
        """See `zoo.contracts.Tokens.make`."""
        asked = {"name": name, "purpose": purpose, "only": only, "days": days}
        answer = self._session.open(
            "POST", PATH, body=msgspec.json.encode(asked), headers=JSON, fine=(BAD,)
        )
        if answer.status == BAD:
            self._session.leave(answer)
            message = answer.headers.get("x-error-message", "it does not take that")
            raise InvalidOption(f"{self._session.url}: {clean(message[:LETTERS])}")
        read = self._session.decoded(answer, _Made)
        return MadeToken(made=read.made, secret=clean(read.token))

    def revoke(self, token_id: str) -> None:
        """See `zoo.contracts.Tokens.revoke`."""
        if self._session.ask("DELETE", f"{PATH}/{token_id}", fine=(GONE,)) == GONE:
            raise UnknownName("token", token_id)
