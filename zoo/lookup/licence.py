"""Licence: what a checkpoint's own terms and those of its ancestors come to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, Parent
from zoo.domain.reference import Reference
from zoo.errors import InvalidReference, MissingObject
from zoo.workspace import Workspace

__all__ = ["terms"]

LIMITS = (
    (re.compile(r"(^|[-_ ])nc([-_ ]|$)|non-?commercial"), "non-commercial"),
    (re.compile(r"apple-amlr|research"), "research only"),
)
"""What a licence id says of use."""


def terms(workspace: Workspace, name: str, manifest: Manifest) -> dict[str, Any]:
    """Plain data: ``limits`` on use, each with the licence and the checkpoint that it comes from.

    Terms follow lineage: what was made from weights that are for non-commercial use is so, too,
    whatever its own licence says. ``unknown`` lists those whose licence nobody states;
    ``warning`` says where a checkpoint's own licence leaves out a limit of an ancestor.
    """
    known = [(name, manifest.license), *_ancestors(workspace, manifest.parents, set())]
    limits = [
        {"limit": limit, "license": license_, "from": who}
        for who, license_ in known
        for limit in _limits(license_)
    ]
    own = set(_limits(manifest.license))
    hidden = [found for found in limits if found["limit"] not in own]
    return {
        "limits": limits,
        "unknown": [who for who, license_ in known if license_ in (None, "unknown", "other")],
        "warning": (
            f"its licence is given as {manifest.license or 'unknown'}, but {hidden[0]['from']}, "
            f"which it derives from, is {hidden[0]['limit']} ({hidden[0]['license']})"
            if hidden
            else ""
        ),
    }


def _limits(license_: str | None) -> list[str]:
    return [limit for pattern, limit in LIMITS if pattern.search((license_ or "").lower())]


def _ancestors(
    workspace: Workspace, parents: Iterable[Parent], seen: set[Digest]
) -> Iterator[tuple[str, str | None]]:
    for parent in parents:
        if parent.manifest not in seen:
            seen.add(parent.manifest)
            yield parent.ref or str(parent.manifest), _license_of(workspace, parent)
            yield from _ancestors(workspace, parent.parents, seen)


def _license_of(workspace: Workspace, parent: Parent) -> str | None:
    """From its manifest, or what the index knows of one that is not here."""
    try:
        return workspace.store.manifest(parent.manifest).license
    except MissingObject:
        pass
    indexed = workspace.registry.summary(parent.manifest)
    if indexed:
        return str(indexed["license"]) if indexed["license"] else None
    try:
        entry = workspace.registry.entry(Reference.parse(parent.ref).path)
    except InvalidReference:
        return None
    return entry.entry.license if entry else None
