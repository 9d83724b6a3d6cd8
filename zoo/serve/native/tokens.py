"""Tokens: one's own, listed, made and revoked by a program, as on the page of settings."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from zoo.errors import Conflict, Invalid, NotFound
from zoo.serve.http.answer import NO_STORE, Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub import tokens
from zoo.serve.hub.ask import Ask

__all__ = ["NewToken", "list_tokens", "make_token", "revoke_token"]

MOST_NAMES = 100
Days = Annotated[int, Meta(ge=1, le=36500)]


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    """What a token is called, is to be for, and how many days it lasts; null: until revoked."""

    name: Annotated[str, Meta(min_length=1)]
    purpose: Literal["read", "append", "write"] = "read"
    only: Annotated[tuple[str, ...], Meta(max_length=MOST_NAMES)] = ()
    days: Days | None = None


def list_tokens(ask: Ask) -> Answer:
    """Those of who asks, without their secrets; of a token for some names only, itself."""
    own = [each.to_json() for each in tokens.tokens_of(ask, ask.actor.name)]
    return json_answer({"tokens": own}, headers=NO_STORE)


def make_token(ask: Ask) -> Answer:
    """Make one that may no more than the one that asks; with its secret, this once."""
    ask.check_unlimited()
    request = ask.call.read(NewToken)
    try:
        token, secret = tokens.make_token(
            ask, ask.actor.name, request.name, request.purpose, request.only, request.days
        )
    except (Invalid, NotFound, Conflict) as error:
        raise Refused("BadRequest", error.message) from error
    return json_answer({"made": token.to_json(), "token": secret}, headers=NO_STORE)


def revoke_token(ask: Ask, id: str) -> Answer:  # noqa: A002 - as in the path
    """End one, and those that end with it, from the next request on."""
    ask.check_unlimited()
    try:
        tokens.revoke_token(ask, ask.actor.name, id)
    except NotFound as error:
        raise Refused("NotFound", error.message) from error
    return json_answer({"id": id})
