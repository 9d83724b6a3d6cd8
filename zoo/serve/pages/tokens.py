"""Tokens: those of an account, on the page of whoever may make and revoke them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from zoo.errors import InvalidOption, UnknownName
from zoo.serve.hub.ask import Ask
from zoo.serve.pages.form import Form
from zoo.serve.who.accounts import Token
from zoo.serve.who.tokens import utc_text

__all__ = ["TokenRow", "make_token", "revoke_token", "tokens_of"]

DAY = 86400.0
ENDED = 20
"""So many that have ended are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """A token.

    Attributes:
        id: The public part of it.
        name: What its owner calls it.
        purpose: What it is for.
        only: The namespaces and repositories that it is for; empty: all.
        made: When it was made.
        expires: When it ends, if it does.
        used: When it was used last, within a minute.
        ended: Why it is none any more; empty if it is one.
        ends_with: The token that it ends with, if it does.
        here: Whether it is the one by which the page was asked for.
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


def tokens_of(ask: Ask, account: str) -> tuple[TokenRow, ...]:
    """The tokens of an account, first those that are good, the newest first. A token that is for
    some names only shows itself.
    """
    now = utc_text(datetime.now(UTC))
    found = ask.hub.accounts.tokens(account)[::-1]
    rows = [_row(ask, each, now) for each in found if not ask.actor.only or each.id == ask.actor.id]
    ended = [row for row in rows if row.ended]
    return (*(row for row in rows if not row.ended), *ended[:ENDED])


def _row(ask: Ask, token: Token, now: str) -> TokenRow:
    ended = "expired" if token.expires and token.expires <= now else ""
    return TokenRow(
        id=token.id,
        name=token.name,
        purpose=token.purpose,
        only=token.only,
        made=token.made,
        expires=token.expires,
        used=token.used,
        ended="revoked" if token.revoked else ended,
        ends_with=token.ends_with,
        here=token.id == ask.actor.id,
    )


def make_token(ask: Ask, form: Form, account: str) -> str:
    """Make a token for an account; the token. One of one's own lasts no longer than that by which
    one is signed in, nor does another's where that expires: whoever has stolen it keeps nothing.

    Raises:
        InvalidOption, InvalidReference, UnknownName: As `Accounts.new_token`.
    """
    days = form.text("days")
    if days and not (days.isdecimal() and len(days) < 6):
        raise InvalidOption("a token lasts a number of days, or until it is revoked")
    _, secret = ask.hub.accounts.new_token(
        account,
        form.text("name") or "token",
        form.text("purpose"),
        only=tuple(form.text("only").split()),
        lasts=int(days) * DAY if days else None,
        by=ask.actor.id if account == ask.actor.name or ask.actor.ends else "",
    )
    return str(secret)


def revoke_token(ask: Ask, form: Form, account: str) -> str:
    """End a token of an account.

    Raises:
        UnknownName: It has none of that name.
    """
    token_id = form.text("id")
    if token_id not in [each.id for each in ask.hub.accounts.tokens(account)]:
        raise UnknownName("token", token_id)
    ask.hub.accounts.revoke(token_id)
    return ""
