"""Tokens: those of an account, as whoever may make and revoke them does so."""

from __future__ import annotations

from collections.abc import Set
from datetime import UTC, datetime

from zoo.domain.server_token import ServerToken
from zoo.errors import UnknownName
from zoo.serve.hub.ask import Ask
from zoo.serve.who.accounts import Token
from zoo.serve.who.tokens import utc_text

__all__ = ["make_token", "revoke_token", "tokens_of"]

DAY = 86400.0
ENDED = 20
"""So many that have ended are listed."""


def tokens_of(ask: Ask, account: str) -> tuple[ServerToken, ...]:
    """The tokens of an account, first those that are good, the newest first. A token that is for
    some names only shows itself.
    """
    tokens = ask.hub.accounts.tokens(account)[::-1]
    lasting = ask.hub.accounts.refreshing.refreshable()
    rows = [
        _seen(ask, each, lasting)
        for each in tokens
        if not ask.actor.only or each.id == ask.actor.id
    ]
    ended = [row for row in rows if row.ended]
    return (*(row for row in rows if not row.ended), *ended[:ENDED])


def _seen(ask: Ask, token: Token, lasting: Set[str] = frozenset()) -> ServerToken:
    """A token; of those that are ``lasting`` a program may get another one once they expire."""
    is_past = token.expires and token.expires <= utc_text(datetime.now(UTC))
    return ServerToken(
        id=token.id,
        name=token.name,
        purpose=token.purpose,
        only=token.only,
        made=token.made,
        expires=token.expires,
        used=token.used,
        ended="revoked"
        if token.revoked
        else "expired"
        if is_past and token.id not in lasting
        else "",
        ends_with=token.ends_with,
        here=token.id == ask.actor.id,
    )


def make_token(
    ask: Ask, account: str, name: str, purpose: str, only: tuple[str, ...], days: int | None
) -> tuple[ServerToken, str]:
    """Make a token for an account; it and its secret. One of one's own lasts no longer than that by
    which one asks, nor does another's where that expires: whoever has stolen it keeps nothing.

    Raises:
        InvalidOption, InvalidReference, UnknownName: As `Accounts.new_token`.
    """
    token, secret = ask.hub.accounts.new_token(
        account,
        name,
        purpose,
        only=only,
        lasts=days * DAY if days is not None else None,
        by=ask.actor.id if account == ask.actor.name or ask.actor.ends else "",
    )
    return _seen(ask, token), str(secret)


def revoke_token(ask: Ask, account: str, token_id: str) -> None:
    """End a token of an account.

    Raises:
        UnknownName: It has none of that name.
    """
    if token_id not in [each.id for each in ask.hub.accounts.tokens(account)]:
        raise UnknownName("token", token_id)
    ask.hub.accounts.revoke(token_id)
