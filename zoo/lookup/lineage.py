"""Lineage: how a checkpoint derives from others, and what its name pointed at."""

from __future__ import annotations

from typing import Any

from zoo.domain.digest import Digest
from zoo.errors import MissingObject
from zoo.workspace import Workspace

__all__ = ["lineage"]


def lineage(workspace: Workspace, name: str) -> dict[str, Any]:
    """Plain data: ``ancestors`` from the checkpoint itself to the root, the direct ``children``,
    and the ``history`` of the name, newest first.

    An ancestor that is not in this zoo is listed under the name that it had, ``here`` false.

    Raises:
        UnknownName: No such checkpoint here; near names are suggested.
    """
    ref, digest = workspace.resolve(name)
    return {
        "name": str(ref or digest),
        "manifest": str(digest),
        "ancestors": _ancestors(workspace, digest, str(ref or digest)),
        "children": [
            _step(workspace, child, relation="child")
            for child in workspace.registry.children(digest)
        ],
        "history": [
            {**entry.to_json(), "here": not workspace.store.missing("manifests", [entry.manifest])}
            for entry in reversed(workspace.store.history(ref) if ref else ())
        ],
    }


def _ancestors(workspace: Workspace, digest: Digest, name: str) -> list[dict[str, Any]]:
    """From the checkpoint to the root. A manifest tells its whole lineage: none else is needed."""
    manifest = workspace.store.manifest(digest)
    found = [_step(workspace, digest, relation="self", name=name)]
    waiting = list(manifest.parents)
    seen = {digest}
    while waiting:
        parent = waiting.pop(0)
        if parent.manifest not in seen:
            seen.add(parent.manifest)
            found.append(
                _step(workspace, parent.manifest, relation=parent.relation, name=parent.ref)
            )
            waiting += parent.parents
    return found


def _step(workspace: Workspace, digest: Digest, *, relation: str, name: str = "") -> dict[str, Any]:
    refs = [str(ref) for ref in workspace.registry.refs_of(digest)]
    step: dict[str, Any] = {
        "manifest": str(digest),
        "name": name or _name(workspace, digest, refs),
        "refs": refs,
        "relation": relation,
    }
    try:
        manifest = workspace.store.manifest(digest)
    except MissingObject:
        return {**step, "here": False}
    return {
        **step,
        "here": True,
        "architecture": manifest.backbone.architecture,
        "created": manifest.created,
        "license": manifest.license,
        "freeze": dict(manifest.freeze) if manifest.freeze else None,
        "metrics": dict(manifest.metrics),
        "source": manifest.provenance.get("source"),
    }


def _name(workspace: Workspace, digest: Digest, refs: list[str]) -> str:
    names = refs or [str(ref) for ref in workspace.registry.remote_names(digest)]
    return names[0] if names else str(digest)
