"""Details: all that is known of a name."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from zoo.domain.catalog import OPEN
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.errors import InvalidReference, UnknownName
from zoo.lookup.licence import terms
from zoo.lookup.standing import at_remotes
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from zoo.registry import KnownEntry

__all__ = ["details"]


def details(workspace: Workspace, name: str) -> dict[str, Any]:
    """Plain data on a checkpoint (``kind`` ``checkpoint``), on one that only a remote has
    (``remote``), or on a catalog entry (``catalog``).

    A checkpoint's tensors and children are counted, not listed; ``lineage`` has the names of its
    ancestors, nearest first, and ``terms`` what their licences come to (`zoo.lookup.licence`).
    ``at_remotes`` is what remotes have under the name (`zoo.lookup.standing`).

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
    data["parents"] = [
        {"manifest": str(parent.manifest), "relation": parent.relation, "ref": parent.ref}
        for parent in manifest.parents
    ]
    data.pop("ancestors", None)  # ``lineage`` names them
    return {
        "kind": "checkpoint",
        "name": str(ref or digest),
        "manifest": str(digest),
        "refs": [str(known) for known in workspace.registry.refs_of(digest)],
        "bytes": manifest.logical_bytes,
        "sources": _sources(workspace, ref, manifest, entry),
        "at_remotes": at_remotes(workspace, ref),
        **data,
        "lineage": _lineage(manifest),
        "children": len(workspace.registry.children(digest)),  # log lists them
        "terms": terms(workspace, str(ref or digest), manifest),
        "unproven": _unproven(manifest),
    }


def _sources(
    workspace: Workspace, ref: Reference | None, manifest: Manifest, entry: KnownEntry | None
) -> list[str]:
    """Who lists it: an entry of the same name may be of somebody else's work."""
    if entry is None or ref is None:
        return []
    if manifest.provenance.get("source"):
        theirs = not workspace.is_own(ref, entry)
    else:  # of early versions, and of other programs
        theirs = not OPEN.issuperset(entry.sources)
    return list(entry.sources) if theirs else []


def _unproven(manifest: Manifest) -> str:
    """What the manifest says of bytes that are not here, so that nothing proves it."""
    stated = manifest.provenance.get("sha256")
    if stated is None or stated in {file.sha256.hex for file in manifest.weights}:
        return ""
    return "provenance.sha256: it is of another file, which these weights are said to come from"


def _lineage(manifest: Manifest) -> list[str]:
    """Names of all ancestors, the nearest first."""
    found = [parent.ref or str(parent.manifest) for _, parent in manifest.lineage()]
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
        "at_remotes": at_remotes(workspace, ref),
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
