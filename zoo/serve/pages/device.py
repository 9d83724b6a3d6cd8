"""Device: who is signed in lets a program in by the code that it shows, or does not (RFC 8628)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from zoo.errors import InvalidOption, UnknownName
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.device import hash_of
from zoo.serve.pages.form import Form
from zoo.serve.who.accounts import check_name
from zoo.serve.who.devices import Device, Entry, TooManyTries
from zoo.serve.who.may import PURPOSES, Purpose

__all__ = ["FORMS", "Confirm", "look_device"]

LETTERS = 20
"""Of a code, with whatever is typed in between."""
OWN = ("same-origin", "none")
"""Where a browser says that a request came from: a page of this server, or whoever sits there."""
UNKNOWN = "no program waits with that code: it may have expired, or have a slip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """The program that waits.

    Attributes:
        code: The code that was typed; empty: none was yet.
        device: The program; None if none waits with that code.
        error: Why there is none.
        purposes: What a token may be for that it is given: no more than the one by which who asks
            is signed in.
        wants: The one of these that it asks for, but none to write, which somebody has to choose;
            the least, if it does not say.
        lacks: What it asks for, if that is more.
        only: The names that a token would be for; empty: all.
        ends: Whether a token would end with the one by which who asks is signed in.
        name: What to call the token.
    """

    code: str
    device: Device | None = None
    error: str = ""
    purposes: tuple[str, ...] = ()
    wants: str = ""
    lacks: str = ""
    only: tuple[str, ...] = ()
    ends: bool = False
    name: str = ""


def look_device(ask: Ask) -> Confirm:
    """What waits with the code in ``?user_code=``.

    Raises:
        Refused: Too many codes were wrong; or it is somebody's own zoo, without accounts.
    """
    code = ask.call.query.get("user_code", "").strip()[:LETTERS]
    if ask.hub.alone:
        raise Refused("NotFound", "there are no accounts in your own zoo")
    if not code:
        return Confirm(code="")
    if ask.call.method == "GET" and ask.call.headers.get("sec-fetch-site", "none") not in OWN:
        return Confirm(code=code)  # a stranger's page would have wrong codes counted
    if (device := _device_of(ask, code)) is None:
        return Confirm(code=code, error=UNKNOWN)
    purposes = PURPOSES[: PURPOSES.index(ask.actor.purpose) + 1]
    return Confirm(
        code=code,
        device=device,
        purposes=purposes,
        wants=_chosen(device.wants, purposes),
        lacks="" if device.wants in ("", *purposes) else device.wants,
        only=tuple(sorted(ask.actor.only)),
        ends=not ask.actor.unlimited,
        name=f"login {datetime.now(UTC):%Y-%m-%d}",
    )


def _chosen(wants: str, purposes: tuple[Purpose, ...]) -> Purpose:
    """What is chosen unless somebody chooses something else: whoever lures them has the program
    ask for all.
    """
    return purposes[:2][-1] if wants in PURPOSES[1:] else purposes[0]


def _device_of(ask: Ask, code: str) -> Device | None:
    try:
        return ask.hub.accounts.devices.find(hash_of(ask, code), ask.actor.id)
    except TooManyTries:
        text = "too many codes were wrong: wait a quarter of an hour, and begin anew there"
        raise Refused("TooMany", text) from None


def _let_in(ask: Ask, form: Form) -> None:
    code, purpose = _code(ask, form), form.text("purpose")
    name = form.text("name") or "login"
    purposes = PURPOSES[: PURPOSES.index(ask.actor.purpose) + 1]
    if purpose not in purposes:
        raise InvalidOption(f"a token of yours is for one of: {', '.join(purposes)}")
    check_name(name)
    entry = Entry(account=ask.actor.name, name=name, purpose=purpose, token=ask.actor.id)
    if not ask.hub.accounts.devices.let_in(code, entry):
        raise UnknownName("code", form.text("user_code"))


def _refuse(ask: Ask, form: Form) -> None:
    if not ask.hub.accounts.devices.refuse(_code(ask, form), ask.actor.name):
        raise UnknownName("code", form.text("user_code"))


def _code(ask: Ask, form: Form) -> str:
    """What is kept of the code that was sent; a wrong one counts here, too."""
    code = form.text("user_code")[:LETTERS]
    if ask.hub.alone or _device_of(ask, code) is None:
        raise UnknownName("code", code, hint=UNKNOWN)
    return hash_of(ask, code)


FORMS = {"let-in": _let_in, "refuse": _refuse}
"""What the forms of the page do."""
