"""Architectures: which ones there are weights of, and all weights of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.domain.query import Query
from zoo.domain.result import Result
from zoo.errors import UnknownName
from zoo.lookup.ref_status import with_deprecations
from zoo.registry import SearchResult
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from zoo.registry.search import KnownArchitecture

__all__ = ["Architectures", "architectures"]

MOST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Architectures(Result):
    """What was asked for by pattern.

    Attributes:
        architectures: Those whose name fits, each with the numbers of checkpoints here, at remotes
            and in the catalog.
        weights: If one is called exactly so, all its checkpoints: those here and at remotes, newest
            first, then what is published.
    """

    architectures: tuple[KnownArchitecture, ...]
    weights: tuple[SearchResult, ...]


def architectures(workspace: Workspace, pattern: str = "*") -> Architectures:
    """The architectures whose name fits ``pattern`` (``*`` is any characters).

    Raises:
        UnknownName: None fits; near names are suggested.
    """
    matches = workspace.registry.known_architectures(pattern)
    if not matches and pattern != "*":
        bare = pattern.strip("*")
        near = [known.architecture for known in workspace.registry.known_architectures(f"*{bare}*")]
        near = near[:4] or workspace.registry.near(bare)
        raise UnknownName("architecture", pattern, near)
    exact = any(known.architecture == pattern for known in matches)
    query = Query(architecture=pattern, limit=MOST)
    weights = with_deprecations(workspace, workspace.registry.search(query)) if exact else ()
    return Architectures(architectures=tuple(matches), weights=tuple(weights))
