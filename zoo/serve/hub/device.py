"""Device: a program gets a token without one being typed, as somebody confirms its code in a
browser (RFC 8628). `hf auth login` and ``zoo login`` ask so.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from math import ceil

from zoo.errors import InvalidOption, UnknownName
from zoo.serve.http.answer import NO_STORE, Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.who.accounts import Also
from zoo.serve.who.audit import asked_by
from zoo.serve.who.devices import LASTS, PAUSE, new_code, spend
from zoo.serve.who.may import PURPOSES
from zoo.serve.who.refreshing import Login, add_refresh, spend_refresh

__all__ = ["SECRET", "begin", "error", "hash_of", "poll"]

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
REFRESH = "refresh_token"
LONGEST = 90 * 86400.0
"""Seconds that a token lasts which a program got so, at most."""
SECRET = {**NO_STORE, "Pragma": "no-cache"}


def begin(ask: Ask) -> Answer:
    """A code for a program, and one for who confirms it."""
    sent, code, hub = ask.call.form, new_code(), ask.hub
    asked = " ".join(sent.get("scope", ())).split()
    secret = hub.accounts.devices.begin(
        hash_of(ask, code),
        client=ask.call.headers.get("user-agent", ""),
        address=ask.call.address,
        wants=max((each for each in asked if each in PURPOSES), key=_rank, default=""),
    )
    if secret is None:
        headers = {"Retry-After": str(int(LASTS.total_seconds()))}
        raise Refused("TooMany", "too many programs wait to be let in", headers=headers)
    page = f"{ask.call.base}/-/device"
    return json_answer(
        {
            "device_code": secret,
            "user_code": code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={code}",
            "expires_in": int(LASTS.total_seconds()),
            "interval": PAUSE,
        },
        headers=SECRET,
    )


def poll(ask: Ask) -> Answer:
    """The token of a program that somebody has let in; else why not, or not yet."""
    sent = ask.call.fields
    if sent.get("grant_type") == REFRESH:
        return _refresh(ask, sent.get("refresh_token", ""))
    if sent.get("grant_type") != GRANT:
        return error("unsupported_grant_type", "tokens are given to programs with a code alone")
    outcome = ask.hub.accounts.devices.poll(sent.get("device_code", ""))
    if isinstance(outcome, str):
        return error(outcome)
    answer = _issue_token(ask, Login(outcome, ""), partial(spend, secret=sent["device_code"]))
    return answer or error("access_denied")  # whoever let it in may do that no more


def _refresh(ask: Ask, secret: str) -> Answer:
    """Another token of a program that was let in, by what came with its last one."""
    login = ask.hub.accounts.refreshing.login(secret)
    also = partial(spend_refresh, secret=secret)
    answer = _issue_token(ask, login, also) if login else None
    if login and answer is None:  # somebody may have used it meanwhile: it ends with all of them
        ask.hub.accounts.refreshing.login(secret)
    return answer or error("invalid_grant")


def _issue_token(ask: Ask, login: Login, also: Also) -> Answer | None:
    """A token that may do no more than the one by which the program was let in, and lasts no
    longer; None if that one has ended, or it was given already. Where that one does not expire, it
    comes with what it is refreshed by.
    """
    accounts, entry = ask.hub.accounts, login.entry
    by = {each.id: each for each in accounts.tokens(entry.account)}.get(entry.token)
    actor, _ = accounts.holder(entry.token, "")
    if by is None or actor is None:
        return None
    asked_by(entry.account, entry.token)
    purpose = min(entry.purpose, actor.purpose, key=_rank)
    refresh = secrets.token_urlsafe(32) if by.expires is None else ""
    try:
        token, secret = accounts.new_token(
            entry.account,
            entry.name,
            purpose,
            only=by.only,
            lasts=LONGEST,
            by=by.id,
            also=also,
            then=partial(add_refresh, secret=refresh, login=login) if refresh else None,
        )
    except (UnknownName, InvalidOption):  # it has ended just now
        return None
    body = {"access_token": str(secret), "token_type": "bearer", "scope": token.purpose}
    body |= {"refresh_token": refresh} if refresh else {}
    left = datetime.fromisoformat(str(token.expires)) - datetime.now(UTC)
    return json_answer(body | {"expires_in": ceil(left.total_seconds())}, headers=SECRET)


def error(code: str, text: str = "") -> Answer:
    """An error as RFC 6749 has it."""
    body = {"error": code} | ({"error_description": text} if text else {})
    return replace(json_answer(body, 400, SECRET), code=code)


def hash_of(ask: Ask, code: str) -> str:
    """What is kept of a code for people."""
    letters = "".join(filter(str.isalnum, code.upper()))
    return ask.hub.seals.secret(f"code of a device {letters}")


def _rank(purpose: str) -> int:
    return [*map(str, PURPOSES)].index(purpose)
