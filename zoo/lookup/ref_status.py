"""Ref status: how what is here compares with what remotes have under the same name.

They are not asked: it is what they had at the last fetch, push or pull.

| here is | if |
| --- | --- |
| same | both names point at the same checkpoint |
| ahead | what the remote has was here under that name before, or what is here derives from it |
| behind | the remote had what is here under that name before, or has what derives from it |
| diverged | none of these |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Literal

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.domain.result import AtRemote
from zoo.registry import RemoteRef, SearchResult
from zoo.store.listing import read_one
from zoo.store.manifests import checkpoint_of
from zoo.workspace import Workspace

__all__ = [
    "Status",
    "at_remotes",
    "ref_status",
    "why_deprecated",
    "with_deprecations",
    "with_remotes",
]

Status = Literal["same", "ahead", "behind", "diverged"]


def ref_status(workspace: Workspace, there: RemoteRef) -> Status | None:
    """The status of the name here against that remote; None if it is missing or unreadable here."""
    entry = read_one(workspace.store.read_ref, there.ref)
    if not isinstance(entry, RefEntry) or entry.deleted:
        return None
    here = read_one(partial(checkpoint_of, workspace.store), entry.manifest)
    if not isinstance(here, Digest):
        return None
    if here == there.manifest:
        return "same"
    entries = read_one(workspace.store.history, there.ref)
    if isinstance(entries, Exception):
        return None
    if there.manifest in {entry.manifest for entry in entries}:
        return "ahead"
    if there.manifest in _ancestors(workspace, here):
        return "ahead"
    if here in (there.history or ()) or here in _ancestors(workspace, there.manifest):
        return "behind"
    return "diverged"


def at_remotes(workspace: Workspace, ref: Reference | None) -> tuple[AtRemote, ...]:
    """What remotes have under a name, and the status of the name here against it."""
    if ref is None:
        return ()
    return tuple(_at(workspace, there) for there in workspace.registry.at_remotes([ref]))


def with_remotes(workspace: Workspace, results: Iterable[SearchResult]) -> list[SearchResult]:
    """The same results, each with what remotes have under its name."""
    rows = list(results)
    names = {row.name: Reference.parse(row.name) for row in rows if row.manifest}
    there: dict[Reference, list[AtRemote]] = {}
    for each in workspace.registry.at_remotes(names.values()) if names else ():
        there.setdefault(each.ref, []).append(_at(workspace, each))
    return [
        replace(row, at_remotes=tuple(there[names[row.name]]))
        if row.manifest and names[row.name] in there
        else row
        for row in rows
    ]


def why_deprecated(workspace: Workspace, ref: Reference) -> str:
    """Why a name here is to be used no more; empty if it may be, or its log cannot be read."""
    entry = read_one(workspace.store.read_ref, ref)
    return entry.deprecated if isinstance(entry, RefEntry) and not entry.deleted else ""


def with_deprecations(workspace: Workspace, results: Iterable[SearchResult]) -> list[SearchResult]:
    """The same results, those that are here with why their names are to be used no more."""
    return [
        replace(row, deprecated=why_deprecated(workspace, Reference.parse(row.name)))
        if row.pulled
        else row
        for row in results
    ]


def _at(workspace: Workspace, there: RemoteRef) -> AtRemote:
    return AtRemote(
        remote=there.remote,
        manifest=there.manifest,
        at=there.at,
        by=there.by,
        note=there.note,
        here=ref_status(workspace, there),
    )


def _ancestors(workspace: Workspace, digest: Digest) -> set[Digest]:
    """What a checkpoint, which need not be here, derives from, as far as it is indexed."""
    waiting, ancestors = [digest], set[Digest]()
    while waiting:
        for parent in workspace.registry.parents(waiting.pop()):
            if parent not in ancestors:
                ancestors.add(parent)
                waiting.append(parent)
    return ancestors
