"""Moving: a name with all its versions becomes another one, and its commits stay what they are."""

from __future__ import annotations

from collections.abc import Iterator

from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.errors import Conflict, InvalidReference
from zoo.reflog import append_renaming
from zoo.store import Store
from zoo.store.capabilities import folders
from zoo.store.signatures import copy_signatures
from zoo.workspace import Workspace

__all__ = ["check_movable_to", "move_names"]

Log = tuple[RefEntry, ...]
TRIES = 30
"""A name that others keep moving is tried to be moved so often."""


def check_movable_to(store: Store, old: str, new: str) -> None:
    """See that a name, ``namespace/name``, can become another one with its logs; part of them may
    be there, where that was begun.

    Raises:
        Conflict: The new name is, or was, another one.
    """
    for there in _refs(store, new):
        _check_same(there, store.history(there), store.history(_called(there, old)))


def move_names(workspace: Workspace, old: str, new: str) -> None:
    """Give all versions of a name another one, with their logs, of which the ids of commits are
    made. Whoever is stopped in between can do it again.

    Raises:
        Conflict: Somebody else moves one of them.
    """
    for ref in _refs(workspace.store, old):
        for tried in range(1, TRIES + 1):
            try:
                _move(workspace, ref, _called(ref, new))
            except Conflict:  # it has gone on, which is to go along
                if tried == TRIES:
                    raise
            else:
                break


def _refs(store: Store, path: str) -> Iterator[Reference]:
    for tag in folders(store.backend, f"refs/{path}/"):
        try:
            yield _called(Reference("x", "x", tag), path)
        except InvalidReference:
            continue


def _called(ref: Reference, path: str) -> Reference:
    namespace, _, name = path.partition("/")
    return Reference(namespace, name, ref.tag)


def _check_same(new: Reference, there: Log, entries: Log) -> None:
    """See that a new name has what is to be moved there, as far as both go."""
    if any(one != other for one, other in zip(there, entries, strict=False)):
        raise Conflict(f"{new} is, or was, another one")


def _move(workspace: Workspace, ref: Reference, new: Reference) -> None:
    store = workspace.store
    entries = store.history(ref)
    if not entries or entries[-1].renamed:
        return
    there = store.history(new)
    _check_same(new, there, entries)
    with store.upload(), workspace.index.noted(new):
        for entry in entries[len(there) :]:
            store.append_ref(new, entry)
    for digest in {entry.manifest for entry in entries}:
        copy_signatures(store, digest, ref.path, new.path)
    # A branch that was deleted goes along, too: those that were made from it have its commits.
    if not entries[-1].deleted:
        with workspace.index.noted(ref):
            append_renaming(store, ref, entries[-1], new)
