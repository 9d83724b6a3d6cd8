"""Tokens: those of an account, on the page of whoever may make and revoke them."""

from __future__ import annotations

from zoo.errors import InvalidOption
from zoo.serve.hub import tokens
from zoo.serve.hub.ask import Ask
from zoo.serve.pages.form import Form

__all__ = ["make_token", "revoke_token"]


def make_token(ask: Ask, form: Form, user: str) -> str:
    """Make a token for an account; the secret. Raises as `zoo.serve.hub.tokens.make_token`."""
    days = form.text("days")
    if days and not (days.isdecimal() and len(days) < 6):
        raise InvalidOption("a token lasts a number of days, or until it is revoked")
    name, purpose, only = form.text("name") or "token", form.text("purpose"), form.text("only")
    lasts = int(days) if days else None
    return tokens.make_token(ask, user, name, purpose, tuple(only.split()), lasts)[1]


def revoke_token(ask: Ask, form: Form, user: str) -> None:
    """End a token of an account. Raises as `zoo.serve.hub.tokens.revoke_token`."""
    tokens.revoke_token(ask, user, form.text("id"))
