"""Duplicates: another repository with the branches and tags of one, as they are now.

What they lead to is there already, so nothing is copied; what they led to before is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile

import msgspec

from zoo.domain.reference import Reference
from zoo.domain.snapshot import Snapshot
from zoo.errors import ZooError
from zoo.serve.http.answer import Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.adoption import adopt_later
from zoo.serve.hub.ask import Ask, Hub
from zoo.serve.hub.quota import check_fits
from zoo.serve.hub.repos import check_new_name, check_room, check_whole, repo_path
from zoo.serve.keep.history import DUPLICATE, Version
from zoo.serve.who.may import Level
from zoo.serve.who.rules import is_wider

__all__ = ["Duplicate", "duplicate"]


class Duplicate(msgspec.Struct):
    """The repository that is to be made."""

    repository: str
    visibility: Level | None = None


def duplicate(ask: Ask) -> Answer:
    """Make a repository of what another one has now. It is shown to no more than that one, unless
    who owns it says so.

    Raises:
        Refused: There is one already, or who asks may not make it, or it has no room.
        DiskFull: No space left; nothing was made.
    """
    if not ask.hub.exists(ask.repo):
        raise ask.no_repo()
    wanted, ask = ask.call.read(Duplicate), ask.knowing_all()
    new = repo_path(wanted.repository, None)
    repo_fields = {"url": f"{ask.call.base}/{new}", "name": new, "id": new}
    ask.check_may("write", new)
    with ask.hub.changing():
        if not ask.hub.exists(ask.repo):
            raise ask.no_repo()
        check_whole(ask, ask.repo)
        if ask.hub.exists(new) and not _is_part(ask.hub, new):
            raise Refused("Conflict", f"there is a repository {new} already", data=repo_fields)
        check_new_name(ask, new)
        check_room(ask)
        versions = ask.hub.history.versions(ask.repo)
        for each in versions:
            ask.check_here(each.entry.manifest)
        documents = (ask.hub.files.document(each.entry.manifest) for each in versions)
        check_fits(ask, (each for document in documents for each in document.objects()), new)
        _set_level(ask, new, wanted.visibility)  # first: nobody is to see it before
        _make(ask, new, versions)
    return json_answer({**repo_fields, "filesCopyPending": False})


def _set_level(ask: Ask, new: str, wanted: Level | None) -> None:
    accounts, level = ask.hub.accounts, wanted
    if wanted != "private" and not (wanted and ask.may("share", new)):
        wider = is_wider(accounts.rules(), new, ask.repo)
        level = ask.rules.access(ask.repo).level if wider else None
    if level:
        accounts.set_level(new, level=level)


def _is_part(hub: Hub, repo: str) -> bool:
    """Whether a repository is what a duplicate has left that was cut off, and nothing else."""
    begun = hub.accounts.repos.begun(repo)
    return begun and all(_is_copy(hub, each) for each in hub.history.all_versions(repo))


def _is_copy(hub: Hub, version: Version) -> bool:
    """Whether a name has never been anything but what a duplicate made of it."""
    log = reversed(hub.workspace.store.history(version.ref))
    entries = [*takewhile(lambda entry: not entry.deleted, log)]
    return entries[-1].why == DUPLICATE and len({entry.manifest for entry in entries}) == 1


def _make(ask: Ask, new: str, versions: Sequence[Version]) -> None:
    """Give the repository its branches and tags, or none of them. Until it has all, that is noted:
    who kills this, or a full disk, leaves a part, which is no repository to go on with.
    """
    hub = ask.hub
    hub.accounts.repos.begin(new)
    try:
        _clear(hub, new)
        copies = [_copy(hub, new, each) for each in versions]
    except BaseException:
        with suppress(ZooError):  # then it is noted still
            _clear(hub, new)
            hub.accounts.repos.end(new)
        raise
    hub.accounts.repos.add(new, hub.history.emptied(new))
    for version in copies:
        hub.tell("name made", version.ref, version.entry)
        document = hub.files.document(version.entry.manifest)
        if isinstance(document, Snapshot):
            adopt_later(hub, ask.actor, version.ref, version.entry.manifest, document)


def _clear(hub: Hub, repo: str) -> None:
    """Delete the names that a duplicate has made, and none that somebody has made beside them."""
    for version in hub.history.all_versions(repo):
        if _is_copy(hub, version):
            if version.entry.protected:
                hub.workspace.protect(version.ref, on=False)
            hub.workspace.delete(version.ref)


def _copy(hub: Hub, repo: str, version: Version) -> Version:
    """Give a repository a branch or tag of another one."""
    namespace, _, name = repo.partition("/")
    ref = Reference(namespace, name, version.ref.tag)
    entry = hub.workspace.move(ref, version.entry.manifest, DUPLICATE)
    if version.entry.deprecated:
        entry = hub.workspace.deprecate(ref, version.entry.deprecated)
    if version.fixed:
        entry = hub.workspace.protect(ref, on=True)
    return Version(ref=ref, entry=entry)
