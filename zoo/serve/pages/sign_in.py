"""Sign in: a browser has a session, which stands for a token."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from zoo.serve.http.answer import Answer
from zoo.serve.http.call import Call
from zoo.serve.http.cookie import read_cookie, set_cookie
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.pages.page import show, site_of
from zoo.serve.who.audit import asked_by
from zoo.serve.who.sessions import LASTS_DAYS

__all__ = ["SignIn", "look_sign_in", "open_link", "sign_in", "sign_out"]

DAY = 86400
WRONG = "That is no token of this server, or it has expired, or was revoked."


@dataclass(frozen=True, slots=True)
class SignIn:
    """The form.

    Attributes:
        next: The path to go on to.
        error: What was wrong with what was sent; empty: nothing was.
        days: A session ends after so many.
    """

    next: str
    error: str = ""
    days: int = LASTS_DAYS


def look_sign_in(ask: Ask) -> SignIn:
    """The form, empty."""
    return SignIn(_local(ask.call.query.get("next", "")))


def sign_in(ask: Ask) -> Answer:
    """Begin a session with the token that was sent, and go on; or the form once more."""
    sent = {name: values[-1] for name, values in ask.call.form.items()}
    accounts, goes = ask.hub.accounts, _local(sent.get("next", ""))
    actor, _ = accounts.authenticate(sent.get("token", "").strip())
    if actor is None:
        accounts.audit.refuse("InvalidToken", "", "POST /sign-in")
        again = show(site_of(ask), "sign_in.html", SignIn(goes, WRONG), 401)
        return replace(again, code="InvalidToken", message=WRONG)
    if before := read_cookie(ask.call):
        accounts.sessions.end(before)
    asked_by(actor.name, actor.id)
    secret = accounts.sessions.new(actor.id)
    return _away(ask.call, goes, set_cookie(ask.call, secret, LASTS_DAYS * DAY))


def sign_out(ask: Ask) -> Answer:
    """End the session; what the browser has kept of pages goes, too."""
    ask.hub.accounts.sessions.end(read_cookie(ask.call))
    left = _away(ask.call, "/", set_cookie(ask.call, "", 0))
    return replace(left, headers={**left.headers, "Clear-Site-Data": '"cache"'})


def open_link(ask: Ask) -> Answer:
    """Open one's own zoo to the browser that has the link."""
    alone, call = ask.hub.alone, ask.call
    if alone is None:
        raise Refused("NotFound")
    session = alone.open(call.query.get("key", ""))
    if session is None and not alone.knows(read_cookie(call)):
        raise Refused("NoToken", "that link was used already, or is of another zoo ui")
    return _away(call, "/", set_cookie(call, session or read_cookie(call), DAY))


def _away(call: Call, path: str, cookie: str) -> Answer:
    headers = {
        "Location": f"{urlsplit(call.base).path}{path}",
        "Set-Cookie": cookie,
        "Cache-Control": "no-store",
    }
    return Answer(status=303, headers=headers)


def _local(path: str) -> str:
    """A path of this server; where something else was given, the first page."""
    fine = path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable()
    return path if fine and path.isascii() else "/"
