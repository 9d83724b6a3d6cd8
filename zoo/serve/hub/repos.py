"""Repos: repositories are made, deleted, moved, and shown to more or fewer."""

from __future__ import annotations

import shutil
from typing import Literal

import msgspec

from zoo.domain.limits import LEFT_BYTES
from zoo.domain.reference import Reference, check_case
from zoo.errors import Conflict, DiskFull, InvalidReference
from zoo.serve.http.answer import Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.quota import check_fits
from zoo.serve.keep.moving import check_movable_to, move_names
from zoo.serve.who.may import Level
from zoo.serve.who.reserved import is_address
from zoo.serve.who.rules import is_wider

__all__ = [
    "NewRepo",
    "Move",
    "RepoName",
    "Settings",
    "begin_anew",
    "change_settings",
    "check_made",
    "check_new_name",
    "check_room",
    "check_whole",
    "create",
    "delete",
    "move",
    "repo_path",
]

Kind = Literal["model", "dataset", "space", "kernel"]


class RepoName(msgspec.Struct):
    """A repository as clients name it; without an ``organization`` it is the account's own."""

    name: str
    organization: str | None = None
    type: Kind | None = None

    def path(self, ask: Ask) -> str:
        """The repository.

        Raises:
            Refused: It can be none.
        """
        return repo_path(f"{self.organization or ask.actor.name}/{self.name}", self.type)


class NewRepo(RepoName):
    """What is asked for of a new one. That it be public is nothing: clients say so unasked."""

    visibility: Level | None = None
    private: bool | None = None


class Move(msgspec.Struct, rename="camel"):
    """A repository and its new name."""

    from_repo: str
    to_repo: str
    type: Kind | None = None


class Settings(msgspec.Struct):
    """What is to be of a repository."""

    visibility: Level | None = None
    private: bool | None = None
    gated: bool | str | None = None


def create(ask: Ask) -> Answer:
    """Make an empty repository."""
    wanted = ask.call.read(NewRepo)
    path = wanted.path(ask)
    repo_fields = {"url": f"{ask.call.base}/{path}", "name": path, "id": path}
    ask.check_may("write", path)
    with ask.hub.changing():
        if ask.hub.exists(path):
            raise Refused("Conflict", f"there is a repository {path} already", data=repo_fields)
        check_new_name(ask, path)
        if wanted.private or wanted.visibility == "private":
            ask.hub.accounts.set_level(path, level="private")  # first: nobody is to see it before
        begin_anew(ask, path)
        ask.hub.accounts.repos.add(path, ask.hub.history.emptied(path))
    return json_answer(repo_fields)


def delete(ask: Ask) -> Answer:
    """Delete a repository with all its versions, of which none is protected."""
    path = ask.call.read(RepoName).path(ask)
    with ask.hub.changing():
        ask.require("delete", path)
        versions = ask.hub.history.all_versions(path)
        for each in versions:
            if each.entry.protected or ask.hub.accounts.is_protected(each.ref):
                raise Refused("Forbidden", f"{each.ref} is protected: it cannot be deleted")
        for each in versions:
            gone = ask.hub.workspace.delete(each.ref, of=each.entry)
            ask.hub.tell("name deleted", each.ref, gone)
        ask.hub.accounts.repos.remove(path)
        if not ask.hub.history.emptied(path):  # nothing of it can be restored
            _narrow(ask, path)
    return json_answer({})


def begin_anew(ask: Ask, path: str) -> None:
    """Have a name that a repository had before, which was deleted or has another name by now, lead
    there no more, and be shown to no more than its namespace: who makes one may not share it.
    """
    if ask.hub.history.emptied(path) or ask.hub.accounts.repos.moved(path):
        _narrow(ask, path)
        ask.hub.accounts.repos.leave(path)


def _narrow(ask: Ask, path: str) -> None:
    """Show a repository to no more than its namespace: more was said of one that is gone."""
    if is_wider(ask.hub.accounts.rules(), path, path.partition("/")[0]):
        ask.hub.accounts.set_level(path)


def move(ask: Ask) -> Answer:
    """Give a repository another name, to which the old one leads from then on."""
    wanted = ask.call.read(Move)
    old, new = (repo_path(text, wanted.type) for text in (wanted.from_repo, wanted.to_repo))
    with ask.hub.changing():
        _move(ask, old, new)
    return json_answer({"url": f"{ask.call.base}/{new}"})


def _move(ask: Ask, old: str, new: str) -> None:
    ask.require("delete", old)
    ask.check_may("write", new)
    repos, workspace = ask.hub.accounts.repos, ask.hub.workspace
    begun = repos.moved(old) == new  # and was cut off
    if new == old or (ask.hub.exists(new) and not begun):
        raise Refused("Conflict", f"there is a repository {new} already")
    try:
        check_new_name(ask, new)
        check_movable_to(workspace.store, old, new)
    except Conflict:
        raise Refused("Conflict", f"{new} was another one: choose another name") from None
    check_whole(ask, old)
    check_fits(ask, ask.hub.room.of_repo(old), new)
    check_room(ask)
    _keep_rules(ask, old, new)  # first: nobody else is to see it before
    repos.move(old, new)
    move_names(workspace, old, new)
    for hook in ask.hub.accounts.webhooks.all():
        if hook.path == old and hook.disabled:  # others follow when they are told of it
            ask.hub.accounts.webhooks.follow(hook, new)


def _keep_rules(ask: Ask, old: str, new: str) -> None:
    """Say of a new name what was said of the old one, if who moves it may. It is shown to no more
    at large than before; who has a role in the new namespace has it here, too.
    """
    accounts = ask.hub.accounts
    if ask.may("share", new):
        accounts.repos.copy_rules(old, new)
    if is_wider(accounts.rules(), new, old):
        accounts.set_level(new, level=accounts.rules().access(old).level)


def change_settings(ask: Ask) -> Answer:
    """Say who may read a repository."""
    wanted = ask.call.read(Settings)
    if wanted.gated:
        raise Refused("NotImplemented", "nobody has to ask first: give roles (zoo serve role)")
    level = wanted.visibility
    if wanted.private is not None:
        level = "private" if wanted.private else "public"
    if level:
        ask.hub.accounts.set_level(ask.repo, level=level)
    return json_answer({"visibility": level} if level else {})


def repo_path(text: str, kind: Kind | None) -> str:
    """A repository that a client names.

    Raises:
        Refused: It can be none.
    """
    if kind not in (None, "model"):
        raise Refused("NotImplemented", f"there are no {kind}s here, only models")
    namespace, _, name = text.partition("/")
    try:
        return Reference(namespace, name).path
    except InvalidReference:
        raise Refused("BadRequest", f"'{text}' cannot be a repository") from None


def check_new_name(ask: Ask, path: str) -> None:
    """See that a new name can be told from others everywhere, those included that are empty.

    Raises:
        Refused: It cannot.
    """
    try:
        ask.hub.workspace.names.check_free(Reference.parse(path))
        check_made(ask, path)
    except (Conflict, InvalidReference):  # which say what others are called
        raise Refused("BadRequest", f"{path} cannot be a new name here") from None


def check_room(ask: Ask) -> None:
    """See that there is room for many names: a full disk would stop among them.

    Raises:
        DiskFull: There is not.
    """
    if shutil.disk_usage(root := ask.hub.workspace.root).free < LEFT_BYTES:
        raise DiskFull(root)


def check_whole(ask: Ask, repo: str) -> None:
    """See that a repository is not a part of another one's copy.

    Raises:
        Refused: It is.
    """
    if ask.hub.accounts.repos.begun(repo):
        text = f"{repo} is a copy that was cut off: have it copied once more, or delete it"
        raise Refused("Conflict", text)


def check_made(ask: Ask, path: str) -> None:
    """See that a new name can be told from those of empty repositories everywhere, and that it can
    be asked for.

    Raises:
        InvalidReference: It cannot be told from another one.
        Refused: Addresses of the server begin so.
    """
    ref = Reference.parse(path)
    if is_address(ref.namespace):
        text = f"{path} cannot be a new name here: addresses of the server begin so"
        raise Refused("BadRequest", text)
    repos = [each.partition("/") for each in ask.hub.accounts.repos.all()]
    check_case(path, ref.namespace, (namespace for namespace, _, _ in repos))
    check_case(path, ref.name, (name for there, _, name in repos if there == ref.namespace))
