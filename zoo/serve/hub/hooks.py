"""Hooks: webhooks, as clients of the hub make and change them. Who owns a namespace or a repository
may, by a token for all that they may: what is made would outlast one for less.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import msgspec

from zoo.domain.plain import Json
from zoo.errors import InvalidOption, InvalidReference
from zoo.serve.http.answer import NO_STORE, Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask, repo_of
from zoo.serve.who.may import governs
from zoo.serve.who.webhooks import Webhook

__all__ = [
    "HookChange",
    "NewHook",
    "WatchedItem",
    "add_hook",
    "change_hook",
    "create_hook",
    "delete_hook",
    "disable_hook",
    "enable_hook",
    "list_hooks",
    "secret_of",
    "show_hook",
]

MOST = 20
"""Webhooks of a namespace or a repository: all of a namespace are told one after the other."""


class WatchedItem(msgspec.Struct):
    """What a webhook is told of."""

    type: Literal["user", "org", "model", "dataset", "space", "bucket"]
    name: str

    @property
    def path(self) -> str:
        """The namespace or repository.

        Raises:
            Refused: There is no such thing here.
        """
        if self.type in ("dataset", "space", "bucket"):
            raise Refused("NotImplemented", f"there are no {self.type}s here, only models")
        namespace, slash, name = self.name.partition("/")
        named = bool(repo_of({"namespace": namespace, "name": name})) if slash else bool(namespace)
        if not named or (self.type == "model") != bool(slash):
            raise Refused("BadRequest", f"'{self.name:.200}' is no {self.type}")
        return self.name


class HookChange(msgspec.Struct, rename="camel"):
    """What a webhook is to be. Clients send no items where these are to stay."""

    watched: tuple[WatchedItem, ...] = ()
    domains: tuple[str, ...] = ("repo",)
    url: str | None = None
    secret: str | None = None
    job_source_id: str | None = None

    def path(self, ask: Ask) -> str | None:
        """The namespace or repository that it is for; None if it stays.

        Raises:
            Refused: It is something that is not done here, or not theirs who ask.
        """
        if self.job_source_id:
            raise Refused("NotImplemented", "no jobs run here: a webhook has a url")
        if self.secret:
            text = "the secret is made here, and is in the answer: leave it out"
            raise Refused("NotImplemented", text)
        if "repo" not in self.domains:
            raise Refused("NotImplemented", "there are no discussions here: watch the domain repo")
        if not self.watched:
            return None
        if len(self.watched) > 1:
            text = "a webhook watches one namespace or model here: make one for each"
            raise Refused("NotImplemented", text)
        path = self.watched[0].path
        if "/" in path:
            ask.require("share", path)
        elif not _owns(ask, path):
            raise Refused("NotFound", f"there is no namespace '{path:.200}', or it is not yours")
        return path


class NewHook(HookChange):
    """A webhook that is to be made."""


def secret_of(ask: Ask, hook: Webhook) -> str:
    """The secret that an address is told with."""
    return ask.hub.seals.secret(f"webhook {hook.id}")


def add_hook(ask: Ask, url: str, path: str, *, private: bool = False) -> Webhook:
    """Tell an address of what changes.

    Raises:
        InvalidOption, InvalidReference: As `Webhooks.add`; or there are too many.
    """
    _check_room(ask, path)
    return ask.hub.accounts.webhooks.add(url, path, private=private)


def _check_room(ask: Ask, path: str) -> None:
    if sum(each.path == path for each in ask.hub.accounts.webhooks.all()) >= MOST:
        raise InvalidOption(f"there are {MOST} webhooks for {path or 'all'} already")


def list_hooks(ask: Ask) -> Answer:
    """Those of what who asks owns."""
    ask.check_unlimited()
    return json_answer([_as_json(ask, each) for each in _owned(ask)], headers=NO_STORE)


def show_hook(ask: Ask, id: str) -> Answer:  # noqa: A002 - as the path has it
    """One of them."""
    return _answer(ask, _owned_webhook(ask, id))


def create_hook(ask: Ask) -> Answer:
    """Tell an address of what changes."""
    ask.check_unlimited()
    wanted = ask.call.read(NewHook)
    path = wanted.path(ask)
    if path is None or not wanted.url:
        raise Refused("BadRequest", "a webhook has a url, and one namespace or model in watched")
    return _answer(ask, _done(partial(add_hook, ask, wanted.url, path)))


def change_hook(ask: Ask, id: str) -> Answer:  # noqa: A002
    """Tell another address, or of something else."""
    wanted, hook = ask.call.read(HookChange), _owned_webhook(ask, id)
    path = wanted.path(ask)

    def change() -> Webhook:
        if path not in (None, hook.path):
            _check_room(ask, path)
        return ask.hub.accounts.webhooks.change(hook.id, url=wanted.url, path=path)

    return _answer(ask, _done(change))


def enable_hook(ask: Ask, id: str) -> Answer:  # noqa: A002
    """Tell one of them again."""
    hook = _owned_webhook(ask, id)
    return _answer(ask, ask.hub.accounts.webhooks.switch(hook.id, on=True))


def disable_hook(ask: Ask, id: str) -> Answer:  # noqa: A002
    """Tell one of them nothing for now."""
    hook = _owned_webhook(ask, id)
    return _answer(ask, ask.hub.accounts.webhooks.switch(hook.id, on=False))


def delete_hook(ask: Ask, id: str) -> Answer:  # noqa: A002
    """Tell one of them no more."""
    ask.hub.accounts.webhooks.remove(_owned_webhook(ask, id).id)
    return json_answer({})


def _owns(ask: Ask, path: str) -> bool:
    """Whether who asks says who is told of a namespace or repository, or, without one, of all."""
    if ask.hub.alone:
        return False
    return ask.may("share", path) if path else governs(ask.actor)


def _owned(ask: Ask) -> list[Webhook]:
    return [each for each in ask.hub.accounts.webhooks.all() if _owns(ask, each.path)]


def _owned_webhook(ask: Ask, hook_id: str) -> Webhook:
    """One of those that who asks owns. Raises `Refused` if it is none."""
    ask.check_unlimited()
    matches = [each for each in _owned(ask) if each.id == hook_id]
    if not matches:
        raise Refused("NotFound", f"there is no webhook '{hook_id:.40}', or it is not yours")
    return matches[0]


def _done(what: Callable[[], Webhook]) -> Webhook:
    try:
        return what()
    except (InvalidOption, InvalidReference) as error:
        raise Refused("BadRequest", str(error)) from None


def _answer(ask: Ask, hook: Webhook) -> Answer:
    return json_answer({"webhook": _as_json(ask, hook)}, headers=NO_STORE)


def _as_json(ask: Ask, hook: Webhook) -> Json:
    teams = {each.name for each in ask.hub.accounts.all() if each.team}
    kind = "model" if "/" in hook.path else "org" if hook.path in teams else "user"
    return {
        "id": hook.id,
        "url": hook.url,
        "watched": [{"type": kind, "name": hook.path}] if hook.path else [],
        "domains": ["repo"],
        "secret": secret_of(ask, hook),
        "disabled": hook.disabled or hook.ended,
    }
