"""Sign in: a browser has a session, which stands for a token."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from zoo.serve.http.answer import NO_STORE, Answer
from zoo.serve.http.call import Call
from zoo.serve.http.cookie import read_cookie, set_cookie
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.pages.page import show, site_of
from zoo.serve.who.audit import asked_by
from zoo.serve.who.sessions import LASTS_DAYS

__all__ = [
    "DAY",
    "SignIn",
    "away",
    "form_of",
    "local_path",
    "look_sign_in",
    "open_link",
    "sign_in",
    "sign_out",
]

DAY = 86400
WRONG = "That is no token of this server, or it has expired, or was revoked."


@dataclass(frozen=True, slots=True)
class SignIn:
    """The form.

    Attributes:
        next: The path to go on to.
        error: What was wrong with what was sent; empty: nothing was.
        providers: By which services people sign in, too.
        days: A session ends after so many.
    """

    next: str
    error: str
    providers: tuple[str, ...]
    days: int = LASTS_DAYS


def look_sign_in(ask: Ask) -> SignIn:
    """The form, empty."""
    return form_of(ask, local_path(ask.call.query.get("next", "")))


def form_of(ask: Ask, goes: str, error: str = "") -> SignIn:
    """The form, from which somebody goes on to a path of this server."""
    return SignIn(goes, error, tuple(each.name for each in ask.hub.accounts.providers.all()))


def sign_in(ask: Ask) -> Answer:
    """Begin a session with the token that was sent, and go on; or the form once more."""
    sent = ask.call.fields
    accounts, goes = ask.hub.accounts, local_path(sent.get("next", ""))
    actor, _ = accounts.authenticate(sent.get("token", "").strip())
    if actor is None:
        accounts.audit.refuse("InvalidToken", "", "POST /sign-in")
        again = show(site_of(ask), "sign_in.html", form_of(ask, goes, WRONG), 401)
        return replace(again, code="InvalidToken", message=WRONG)
    if before := read_cookie(ask.call):
        accounts.sessions.end(before)
    asked_by(actor.name, actor.id)
    secret = accounts.sessions.new(actor.id)
    return away(ask.call, goes, set_cookie(ask.call, secret, LASTS_DAYS * DAY))


def sign_out(ask: Ask) -> Answer:
    """End the session; what the browser has kept of pages goes, too."""
    ask.hub.accounts.sessions.end(read_cookie(ask.call))
    left = away(ask.call, "/", set_cookie(ask.call, "", 0))
    return replace(left, headers={**left.headers, "Clear-Site-Data": '"cache"'})


def open_link(ask: Ask) -> Answer:
    """Open one's own zoo to the browser that has the link."""
    alone, call = ask.hub.alone, ask.call
    if alone is None:
        raise Refused("NotFound")
    session = alone.open(call.query.get("key", ""))
    if session is None and not alone.knows(read_cookie(call)):
        raise Refused("NoToken", "that link was used already, or is of another zoo ui")
    return away(call, "/", set_cookie(call, session or read_cookie(call), DAY))


def away(call: Call, path: str, cookie: str = "") -> Answer:
    """Lead a browser to a path of this server, and have it keep a cookie."""
    headers = {
        "Location": f"{urlsplit(call.base).path}{path}",
        **({"Set-Cookie": cookie} if cookie else {}),
        **NO_STORE,
    }
    return Answer(status=303, headers=headers)


def local_path(path: str) -> str:
    """A path of this server; where something else was given, the first page."""
    fine = path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable()
    return path if fine and path.isascii() else "/"
