"""Architectures: which ones there are weights of, and all weights of one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from zoo.domain.query import Query
from zoo.errors import UnknownName
from zoo.workspace import Workspace

__all__ = ["architectures"]

MOST = 10_000


def architectures(workspace: Workspace, pattern: str = "*") -> dict[str, Any]:
    """Plain data: the ``architectures`` whose name fits ``pattern`` (``*`` is any characters), each
    with the numbers of checkpoints here, at remotes and in the catalog.

    If one is called exactly so, ``weights`` has all its checkpoints: those here and at remotes,
    newest first, then what is published.

    Raises:
        UnknownName: None fits; near names are suggested.
    """
    found = workspace.registry.known_architectures(pattern)
    if not found and pattern != "*":
        bare = pattern.strip("*")
        near = [known.architecture for known in workspace.registry.known_architectures(f"*{bare}*")]
        near = near[:4] or workspace.registry.near(bare)
        raise UnknownName("architecture", pattern, near)
    exact = any(known.architecture == pattern for known in found)
    query = Query(architecture=pattern, limit=MOST)
    return {
        "architectures": [asdict(known) for known in found],
        "weights": [
            {**asdict(row), "manifest": str(row.manifest) if row.manifest else None}
            for row in (workspace.registry.search(query) if exact else ())
        ],
    }
