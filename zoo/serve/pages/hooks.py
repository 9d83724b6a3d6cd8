"""Hooks: which addresses are told of changes, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zoo.errors import UnknownName
from zoo.serve.hub import hooks
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.hooks import secret_of
from zoo.serve.pages.form import Form
from zoo.serve.who.webhooks import MOST_FAILURES, Try, Webhook

__all__ = ["FORMS", "Hook", "Hooks", "add_hook", "hooks_where", "look_hooks", "remove_hook"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """An address that is told.

    Attributes:
        id: What it is called.
        url: The address.
        path: The namespace or repository whose changes it is told of; empty: all.
        private: Whether it may be in a private network.
        tried: When it was told last, or tried to be; empty if never.
        status: What came of that.
        failures: How many tries have failed since one did not; ``most`` of them end it.
        most: So many.
        ended: Whether it is told no more.
        disabled: Whether it is told nothing for now.
        after: The row of the audit log up to which it was told.
        tries: The last tries, newest first.
    """

    id: str
    url: str
    path: str
    private: bool
    tried: str
    status: str
    failures: int
    most: int
    ended: bool
    disabled: bool
    after: int
    tries: tuple[Try, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """All webhooks, and the number of the newest row of the audit log."""

    hooks: tuple[Hook, ...]
    newest: int


def look_hooks(ask: Ask) -> Hooks:
    """All of them."""
    newest = ask.hub.accounts.audit.head().number
    return Hooks(hooks=hooks_where(ask, lambda _: True), newest=newest)


def hooks_where(ask: Ask, wanted: Callable[[str], bool]) -> tuple[Hook, ...]:
    """Those of some namespaces and repositories."""
    webhooks = ask.hub.accounts.webhooks
    tries = webhooks.tries()
    return tuple(_row(each, tries.get(each.id, [])) for each in webhooks.all() if wanted(each.path))


def _row(hook: Webhook, tries: list[Try]) -> Hook:
    return Hook(
        id=hook.id,
        url=hook.url,
        path=hook.path,
        private=hook.private,
        tried=hook.tried,
        status=hook.status,
        failures=hook.failures,
        most=MOST_FAILURES,
        ended=hook.ended,
        disabled=hook.disabled,
        after=hook.after,
        tries=tuple(tries),
    )


def add_hook(ask: Ask, form: Form, path: str, *, private: bool = False) -> str:
    """Tell an address of what changes; the secret that it is told with.

    Raises:
        InvalidOption, InvalidReference: As `hooks.add_hook`.
    """
    return secret_of(ask, hooks.add_hook(ask, form.text("url"), path, private=private))


def remove_hook(ask: Ask, form: Form, wanted: Callable[[str], bool]) -> None:
    """Tell one of them no more.

    Raises:
        UnknownName: There is none of that name, of these.
    """
    hook_id = form.text("id")
    if hook_id not in [each.id for each in hooks_where(ask, wanted)]:
        raise UnknownName("webhook", hook_id)
    ask.hub.accounts.webhooks.remove(hook_id)


def _add(ask: Ask, form: Form) -> str:
    return add_hook(ask, form, form.text("path"), private=form.text("private") == "yes")


def _remove(ask: Ask, form: Form) -> None:
    remove_hook(ask, form, lambda _: True)


FORMS = {"add-hook": _add, "remove-hook": _remove}
"""What the forms of the page of all do."""
