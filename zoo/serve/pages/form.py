"""Form: the one way in which a page changes something. It is sent by a page of this server, with
the account's own rights, and nothing but what a command can do, too, is done by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from zoo.errors import Conflict, Invalid, InvalidOption, NotFound
from zoo.serve.http.answer import NO_STORE, Answer
from zoo.serve.http.errors import Refused
from zoo.serve.http.router import Route, Scope
from zoo.serve.hub.ask import Ask, Hub
from zoo.serve.pages.page import Look, show, site_of
from zoo.serve.pages.sign_in import away

__all__ = ["Change", "Form", "form_route"]

TAKES_AWAY = ("remove", "remove-hook", "revoke", "take", "unlink")
"""Forms that can be sent on a full disk, too: who may do something no more is kept from it then."""
Change = Callable[..., str | None]
"""From a request, a `Form` and the fields of its path: changes something. A secret that is shown
this once, or nothing.
"""


@dataclass(frozen=True, slots=True)
class Form:
    """What was sent with a form."""

    fields: Mapping[str, list[str]]

    def text(self, name: str) -> str:
        """What was typed or chosen, in one line; empty if nothing was.

        Raises:
            InvalidOption: It has characters that cannot be shown: no database keeps all of them.
        """
        text = self.fields.get(name, [""])[-1].strip()
        if not text.isprintable():
            raise InvalidOption(f"what was typed cannot be shown: {text[:60]!a}")
        return text


def form_route(
    path: str,
    template: str,
    look: Look,
    changes: Mapping[str, Change],
    summary: str,
    *,
    scope: Scope,
    errors: tuple[str, ...],
) -> Route[Hub]:
    """The row of the forms of a page: ``changes``, by what they send as ``do``. What was changed is
    shown by the page, which the browser is led to; what could not be, and secrets, at once.
    """

    def send(ask: Ask, **fields: str) -> Answer:
        form, site, status, code = Form(ask.call.form), site_of(ask), 200, ""
        do = form.fields.get("do", [""])[-1]
        if do not in changes:
            raise Refused("BadRequest", "no form of this page sends that")
        try:
            change = partial(changes[do], ask, form, **fields)
            secret = ask.hub.reserve.spend(change) if do in TAKES_AWAY else change()
            site = replace(site, secret=secret or "")
        except (Invalid, NotFound, Conflict) as error:
            site, status, code = replace(site, error=error.message), 400, "BadRequest"
        if not (site.secret or site.error):
            return away(ask.call, f"{site.path}?done={do}")
        shown = show(site, template, look(ask.knowing_all(), **fields), status, NO_STORE)
        return replace(shown, code=code, message=site.error)

    errors = ("BadRequest", *(("RepoNotFound",) if scope == "share" else ()), *errors)
    return Route("POST", path, scope, send, summary, errors=errors, page=True)
