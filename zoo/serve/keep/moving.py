"""Moving: a name with all its versions becomes another one, and its commits stay what they are."""

from __future__ import annotations

from collections.abc import Iterator

from zoo.domain.history import RENAMED, RefEntry
from zoo.domain.reference import Reference
from zoo.errors import Conflict, InvalidReference
from zoo.store import Store
from zoo.store.capabilities import folders
from zoo.workspace import Workspace

__all__ = ["check_movable_to", "move_names"]


def check_movable_to(store: Store, old: str, new: str) -> None:
    """See that a name, ``namespace/name``, can become another one with its logs; part of them may
    be there, where that was begun.

    Raises:
        Conflict: The new name is, or was, another one.
    """
    for there in _refs(store, new):
        known = store.history(there)
        if known != store.history(_called(there, old))[: len(known)]:
            raise Conflict(f"{there} is, or was, another one")


def move_names(workspace: Workspace, old: str, new: str) -> None:
    """Give all versions of a name another one, with their logs, of which the ids of commits are
    made. Whoever is stopped in between can do it again.

    Raises:
        Conflict: Somebody else moves one of them.
    """
    store = workspace.store
    for ref in _refs(store, old):
        entries = store.history(ref)
        # Of a branch that was deleted, too: those that were made from it have its commits.
        if entries and not entries[-1].renamed:
            _move(workspace, ref, _called(ref, new), entries)


def _refs(store: Store, path: str) -> Iterator[Reference]:
    for tag in folders(store.backend, f"refs/{path}/"):
        try:
            yield _called(Reference("x", "x", tag), path)
        except InvalidReference:
            continue


def _called(ref: Reference, path: str) -> Reference:
    namespace, _, name = path.partition("/")
    return Reference(namespace, name, ref.tag)


def _move(
    workspace: Workspace, ref: Reference, new: Reference, entries: tuple[RefEntry, ...]
) -> None:
    store = workspace.store
    there = len(store.history(new))
    with store.upload(), workspace.index.noted(new):
        for entry in entries[there:]:
            store.append_ref(new, entry)
    if entries[-1].deleted:
        return
    if entries[-1].protected:
        workspace.protect(ref, on=False)
    workspace.delete(ref, why=f"{RENAMED}{new}")
