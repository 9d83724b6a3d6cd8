"""Moving: a name with all its versions becomes another one, and its commits stay what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

from zoo.domain.history import RESTORED, RefEntry
from zoo.domain.reference import Reference
from zoo.errors import Conflict, InvalidReference
from zoo.reflog import append_renaming, now
from zoo.serve.keep.history import BRANCHED
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
    """See that a new name has what is to be moved there, as far as it goes, and that what is there
    is, or was, no other one that was moved there before, after which the old name was given anew.
    """
    lasting, left = _lasting(_without_renaming(there)), _lasting(_without_renaming(entries))
    same = [_content(entry) for entry in lasting] == [
        _content(entry) for entry in left[: len(lasting)]
    ]
    is_there = bool(there) and not there[-1].deleted
    moved = sum(entry.renamed == new for entry in _without_renaming(entries))
    came = 1 + (len(there) - len(_lasting(there))) // 2
    is_anew = any(entry.renamed == new for entry in left)
    if not same or is_anew or (is_there and moved and moved >= came):
        raise Conflict(f"{new} is, or was, another one")


def _lasting(log: Log) -> Log:
    """A log without the times at which the name had another one, and came back as what it was."""
    lasting: list[RefEntry] = []
    for entry in log:
        if entry.restores and lasting and lasting[-1].renamed:
            lasting.pop()
        else:
            lasting.append(entry)
    return tuple(lasting)


def _without_renaming(log: Log) -> Log:
    return log[:-1] if log and log[-1].renamed else log


def _content(entry: RefEntry) -> RefEntry:
    """What stays of an entry in another place of a log."""
    why = BRANCHED.sub(r"branch of \1", entry.why)
    return replace(entry, number=0, previous=None, why=why)


def _planned(there: Log, entries: Log) -> Log:
    """All of the log that a name has once it has the log of another one; a name that had that one
    before comes back.
    """
    log = [*there]
    if there and there[-1].renamed:
        last = there[-1]
        back = replace(_following(last, log), why=RESTORED, deleted=False, at=now())
        # A name that was moved away is protected no more; it was before.
        log.append(replace(back, protected=any(each.protected for each in there[-2:-1])))
    done = len(_lasting(_without_renaming(there)))
    for entry in _lasting(_without_renaming(entries))[done:]:
        log.append(_following(entry, log))
    return tuple(log)


def _following(entry: RefEntry, log: Sequence[RefEntry]) -> RefEntry:
    """An entry as the next one of a log."""
    return replace(entry, number=len(log) + 1, previous=log[-1].manifest if log else None)


def _planned_of(store: Store, ref: Reference, new: Reference, tag: str) -> tuple[Log, Log]:
    """The log of a tag of the old name, and what lasts of the one that it has at the new name."""
    log, there = store.history(replace(ref, tag=tag)), store.history(replace(new, tag=tag))
    return log, _lasting(_planned(there, log))


def _begun_at(entry: RefEntry, planned_of: Callable[[str], tuple[Log, Log]]) -> RefEntry:
    """An entry that begins with a commit of another branch, which may be in another place of its
    log at the new name.
    """
    begun = BRANCHED.fullmatch(entry.why)
    if begun is None:
        return entry
    log, planned = planned_of(begun[1])
    at = len(_lasting(log[: int(begun[2])])) - 1
    number = planned[at].number if 0 <= at < len(planned) else int(begun[2])
    return replace(entry, why=f"branch of {begun[1]} at {number}")


def _move(workspace: Workspace, ref: Reference, new: Reference) -> None:
    store = workspace.store
    entries = store.history(ref)
    if not entries or entries[-1].renamed:
        return
    there = store.history(new)
    _check_same(new, there, entries)
    planned_of = cache(partial(_planned_of, store, ref, new))  # a branch may be made anew often
    with store.upload(), workspace.index.noted(new):
        for entry in _planned(there, entries)[len(there) :]:
            store.append_ref(new, _begun_at(entry, planned_of))
    for digest in {entry.manifest for entry in entries}:
        copy_signatures(store, digest, ref.path, new.path)
    # A branch that was deleted goes along, too: those that were made from it have its commits.
    if not entries[-1].deleted:
        with workspace.index.noted(ref):
            append_renaming(store, ref, entries[-1], new)
