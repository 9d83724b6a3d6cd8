"""Setup: whoever has the link that a new server prints makes the first account, an admin's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from zoo.errors import Conflict, Invalid
from zoo.serve.http.answer import NO_STORE, Answer
from zoo.serve.http.cookie import read_cookie, set_cookie
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.pages.form import Form
from zoo.serve.pages.page import Site, show, site_of
from zoo.serve.pages.sign_in import DAY, away
from zoo.serve.who.audit import asked_by
from zoo.serve.who.newcomer import add_account
from zoo.serve.who.seals import Seal
from zoo.serve.who.sessions import LASTS_DAYS
from zoo.serve.who.setup import LASTS

__all__ = ["look_setup", "set_up"]

PATH, COOKIE = "/-/setup", "setup"
OVER = (
    "this link was used, is too old, or is of another server; whoever runs it makes accounts: "
    "zoo serve user add NAME --admin"
)


@dataclass(frozen=True, slots=True)
class SetupForm:
    """The form: the name that was typed."""

    name: str


def look_setup(ask: Ask) -> Answer:
    """The form. The key goes from the link into a cookie first: a page says where it was to those
    that it leads to, and a browser remembers it.
    """
    if key := ask.call.query.get("key", ""):
        _open(ask, key)
        return away(ask.call, PATH, set_cookie(ask.call, key, LASTS, COOKIE))
    _open(ask, read_cookie(ask.call, COOKIE))
    return _shown(site_of(ask), "")


def set_up(ask: Ask) -> Answer:
    """Make the account, sign the browser in, and show the token this once; or the form again."""
    seal, accounts = _open(ask, read_cookie(ask.call, COOKIE)), ask.hub.accounts
    name = ask.call.form.get("name", [""])[-1]
    try:
        name = Form(ask.call.form).text("name")
        asked_by(name, "")
        used = partial(accounts.setup.use, seal=seal, name=name)
        add_account(ask.hub.workspace, accounts, name, admin=True, also=used)
    except (Invalid, Conflict) as error:
        asked_by("", "")
        again = _shown(replace(site_of(ask), error=error.message), name, 400)
        return replace(again, code="BadRequest", message=error.message)
    token, secret = accounts.new_token(name, "first", "write")
    cookie = set_cookie(ask.call, accounts.sessions.new(token.id), LASTS_DAYS * DAY)
    done = _shown(replace(site_of(ask), who=name, admin=True, secret=str(secret)), name)
    return replace(done, headers={**done.headers, "Set-Cookie": cookie})


def _open(ask: Ask, key: str) -> Seal:
    """What the key allows. What is no key, or no more, is all the same to who asks.

    Raises:
        Refused: Nothing.
    """
    seal = ask.hub.accounts.setup.find(ask.hub.seals, key)
    if seal is None:
        if key:
            ask.hub.accounts.audit.refuse("NotFound", "", f"{ask.call.method} {PATH}")
        raise Refused("NotFound", OVER)
    return seal


def _shown(site: Site, name: str, status: int = 200) -> Answer:
    return show(site, "setup.html", SetupForm(name), status, NO_STORE)
