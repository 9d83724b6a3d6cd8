"""Details: all that is known of a name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.errors import InvalidReference, UnknownName
from zoo.lookup.licence import terms
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from zoo.registry import KnownEntry

__all__ = ["details"]


def details(workspace: Workspace, name: str) -> dict[str, Any]:
    """Plain data on a checkpoint (``kind`` ``checkpoint``), on one that only a remote has
    (``remote``), or on a catalog entry (``catalog``).

    A checkpoint's tensors and children are counted, not listed; ``lineage`` has the names of its
    ancestors, nearest first, and ``terms`` what their licences come to (`zoo.lookup.licence`).

    Raises:
        UnknownName: None of these is called ``name``; near names are suggested.
        Corrupt: Its manifest is damaged.
    """
    entry = workspace.registry.entry(name.partition(":")[0])
    try:
        ref, digest = workspace.resolve(name)
    except UnknownName:
        elsewhere = _at_remotes(workspace, name) if entry is None else {"kind": "catalog"}
        if not elsewhere:
            raise
        return {"name": name, **elsewhere, **(_entry(entry) if entry else {})}
    manifest = workspace.store.manifest(digest)
    data = manifest.to_json()
    for weights, plain in zip(manifest.weights, data["weights"], strict=True):
        plain["tensors"] = len(weights.tensors)
    return {
        "kind": "checkpoint",
        "name": str(ref or digest),
        "manifest": str(digest),
        "refs": [str(known) for known in workspace.registry.refs_of(digest)],
        "bytes": manifest.logical_bytes,
        "sources": list(entry.sources) if entry else [],
        **data,
        "lineage": _lineage(manifest.parents),
        "children": len(workspace.registry.children(digest)),  # log lists them
        "terms": terms(workspace, str(ref or digest), manifest),
    }


def _lineage(parents: Iterable[Parent]) -> list[str]:
    """Names of all ancestors, the nearest first."""
    waiting, found = list(parents), []
    while waiting:
        parent = waiting.pop(0)
        found.append(parent.ref or str(parent.manifest))
        waiting += parent.parents
    return list(dict.fromkeys(found))


def _at_remotes(workspace: Workspace, name: str) -> dict[str, Any]:
    """What is indexed of a checkpoint that is not here; empty if no remote is known to have it."""
    try:
        ref = Reference.parse(name)
    except InvalidReference:  # a digest
        return {}
    holders = workspace.registry.holders(ref)
    if not holders:
        return {}
    remote, digest = next(iter(holders.items()))
    return {
        "kind": "remote",
        "remotes": [other for other, same in holders.items() if same == digest],
        **(workspace.registry.summary(digest) or {}),
        "pull": f"zoo pull {ref} --from {remote}",
    }


def _entry(entry: KnownEntry) -> dict[str, Any]:
    data = asdict(entry.entry)
    del data["location"], data["name"]
    return {
        **data,
        "params": entry.params,
        "sources": list(entry.sources),
        "locations": [asdict(location) for location in entry.locations],
        "pull": f"zoo pull {Reference.parse(entry.entry.name)}",
    }
