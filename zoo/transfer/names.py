"""Names here and at remotes: look at one, delete it, restore it, protect it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

from zoo.domain.history import RENAMED, RENAMES, RefEntry
from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.errors import Conflict, InvalidOption, MissingObject, UnknownName
from zoo.reflog import (
    append_deletion,
    append_deprecation,
    append_protection,
    append_restoration,
    check_movable,
)
from zoo.store.manifests import has_all_of
from zoo.store.signatures import copy_signatures
from zoo.transfer.sync import lost, note_there, present
from zoo.workspace import Check, Workspace

__all__ = [
    "delete",
    "deleted",
    "deprecate",
    "entry",
    "matching",
    "protect",
    "rename",
    "rename_all_tags",
    "restore",
]


def entry(workspace: Workspace, ref: Reference, remote: str | None) -> RefEntry:
    """The newest entry of ``ref``, here or at a remote.

    Raises:
        UnknownName: No such name there, or it was deleted.
    """
    if remote:
        store = workspace.remotes.connect(remote)
        return workspace.shown_entry(present(store, ref, remote), store)
    workspace.names.target(str(ref))
    return workspace.shown_entry(workspace.store.history(ref)[-1])


def delete(
    workspace: Workspace, ref: Reference, remote: str | None, *, of: RefEntry | None = None
) -> RefEntry:
    """Delete a name, here or at a remote. Its history stays, and its files until a prune there.

    Raises:
        UnknownName: No such name there.
        Protected: It may not be deleted.
        Conflict: Someone else moved it meanwhile, or since ``of``, its newest entry.
    """
    if not remote:
        return workspace.shown_entry(workspace.delete(ref, of=of))
    store = workspace.remotes.connect(remote)
    check_movable(store, ref, present(store, ref, remote), remote)
    done = append_deletion(store, ref, of=of)
    return note_there(workspace, remote, ref, done, store)


def deleted(workspace: Workspace, beginning: str) -> Iterator[Reference]:
    """Names here that were deleted, begin so, and can be restored."""
    store = workspace.store
    for ref in store.readable_refs()[0]:
        if str(ref).startswith(beginning):
            newest = store.read_ref(ref)
            if newest and newest.deleted and has_all_of(store, newest.manifest):
                yield ref


def matching(
    workspace: Workspace, pattern: str, remote: str | None, *, gone: bool = False
) -> tuple[Reference, ...]:
    """Names here, or at a remote, that a pattern such as ``team/*`` matches; with ``gone``, of
    those that were deleted.

    Raises:
        UnknownName: There are none.
    """
    store = workspace.remotes.connect(remote) if remote else workspace.store
    called = [ref for ref in store.readable_refs()[0] if fnmatchcase(str(ref), pattern)]
    newest = {ref: store.read_ref(ref) for ref in sorted(called)}
    refs = tuple(ref for ref, entry in newest.items() if entry and entry.deleted == gone)
    if not refs:
        what = "deleted checkpoint" if gone else "checkpoint"
        raise UnknownName(what, pattern, where=remote or "")
    return refs


def restore(workspace: Workspace, ref: Reference, remote: str | None) -> RefEntry:
    """Bring back a name that was deleted, here or at a remote.

    Raises:
        UnknownName: There was never such a name.
        MissingObject: A prune has taken what it pointed at.
        Conflict: Someone else moved it meanwhile, or a prune at a server has taken that.
    """
    if not remote:
        return workspace.shown_entry(workspace.restore(ref))
    store = workspace.remotes.connect(remote)
    if store.read_ref(ref) is None:
        present(store, ref, remote)
    try:
        done = append_restoration(store, ref)
    except MissingObject as error:
        error.hint = lost(ref, remote)
        raise
    return note_there(workspace, remote, ref, done, store)


def protect(workspace: Workspace, ref: Reference, remote: str | None, *, on: bool) -> RefEntry:
    """Keep a name where it is, here or at a remote, until it is unprotected.

    Raises:
        UnknownName: No such name there.
        Conflict: Someone else moved it meanwhile.
    """
    if not remote:
        return workspace.shown_entry(workspace.protect(ref, on=on))
    store = workspace.remotes.connect(remote)
    present(store, ref, remote)
    done = append_protection(store, ref, on=on)
    return note_there(workspace, remote, ref, done, store)


def deprecate(workspace: Workspace, ref: Reference, remote: str | None, text: str) -> RefEntry:
    """Say why a name is to be used no more, here or at a remote; an empty ``text`` ends that.

    Raises:
        UnknownName: No such name there.
        Conflict: Someone else moved it meanwhile.
    """
    if not remote:
        return workspace.shown_entry(workspace.deprecate(ref, text))
    store = workspace.remotes.connect(remote)
    present(store, ref, remote)
    done = append_deprecation(store, ref, text)
    return note_there(workspace, remote, ref, done, store)


def rename(workspace: Workspace, ref: Reference, new: Reference) -> RefEntry:
    """Give ``new`` what ``ref`` points at, then delete ``ref``; whoever is stopped in between has
    both, and can do it again.

    Raises:
        UnknownName: No such name.
        Protected: It may not be deleted. Nothing was changed.
        Conflict: ``new`` is another checkpoint, or published; or somebody moved either meanwhile.
    """
    old, check = _movable(workspace, ref, new)
    entry = workspace.move(new, old.manifest, f"{RENAMES}{ref}", check=check)
    copy_signatures(workspace.store, old.manifest, ref.path, new.path)
    if old.deprecated:
        workspace.deprecate(new, old.deprecated)
    workspace.delete(ref, of=old, why=f"{RENAMED}{new}")
    return workspace.shown_entry(entry)


def rename_all_tags(
    workspace: Workspace, ref: Reference, new: Reference
) -> Iterator[tuple[Reference, RefEntry]]:
    """`rename` all that is here as ``ref`` and under its tags, the name itself last.

    Raises as `rename`; of what shows before, nothing is renamed then.
    """
    if {ref.tag, new.tag} != {DEFAULT_TAG}:
        raise InvalidOption(f"all tags are those of a name: {ref.path}, {new.path}")
    newest = {each: workspace.store.read_ref(each) for each in workspace.store.refs()}
    here = [each for each, last in newest.items() if last and not last.deleted]
    names = [each for each in here if each.path == ref.path]
    if not names:
        workspace.names.target(str(ref))
    pairs = {each: replace(new, tag=each.tag) for each in sorted(names)}
    for each, target in pairs.items():
        _, check = _movable(workspace, each, target)
        check(workspace.store.read_ref(target))
    for each in sorted(pairs, key=lambda each: each == ref):
        yield pairs[each], rename(workspace, each, pairs[each])


def _movable(workspace: Workspace, ref: Reference, new: Reference) -> tuple[RefEntry, Check]:
    """The newest entry of a name that may be renamed, and what raises where ``new`` is not free."""
    workspace.names.target(str(ref))
    old = workspace.store.history(ref)[-1]
    check_movable(workspace.store, ref, old)
    if ref == new:
        raise Conflict(f"{ref} is its name already")
    workspace.names.check_free(new)

    def check(there: RefEntry | None) -> None:
        if there and not there.deleted and there.manifest != old.manifest:
            hint = f"choose another name, or delete that one first: zoo delete {new}"
            now = str(workspace.shown_digest(there.manifest))
            raise Conflict(f"{new} is another checkpoint", now, hint=hint)

    return old, check
