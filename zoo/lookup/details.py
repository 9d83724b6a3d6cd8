"""Details: all that is known of a name."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from zoo.domain.reference import Reference
from zoo.errors import UnknownName
from zoo.registry import KnownEntry
from zoo.workspace import Workspace

__all__ = ["details"]


def details(workspace: Workspace, name: str) -> dict[str, Any]:
    """Plain data on a checkpoint (``kind`` ``checkpoint``) or a catalog entry (``catalog``).

    A checkpoint's tensors are counted, not listed.

    Raises:
        UnknownName: Neither is called ``name``; near names are suggested.
        Corrupt: Its manifest is damaged.
    """
    entry = workspace.registry.entry(name.partition(":")[0])
    try:
        ref, digest = workspace.resolve(name)
    except UnknownName:
        if entry is None:
            raise
        return {"kind": "catalog", "name": name, **_entry(entry)}
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
