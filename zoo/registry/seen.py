"""Seen: of which names a search may tell. What may not be told is as if it were not there."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from zoo.registry.items import CATALOG, CHECKPOINT, REMOTE
from zoo.registry.sql import among, position

__all__ = ["VisibilityFilter", "is_seen"]

Condition = sa.ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class VisibilityFilter:
    """What may be told to somebody.

    Attributes:
        names: Whether checkpoints here are, of which the rest says nothing.
        shown: Namespaces and repositories that are; what is said of a repository wins.
        hidden: Those that are not.
        catalog: Whether what sources list is.
        remotes: Whether what only remotes have is.
    """

    names: bool
    shown: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    catalog: bool = True
    remotes: bool = False


def is_seen(table: sa.FromClause, seen: VisibilityFilter | None) -> Condition:
    """Whether an item may be told of; all may where ``seen`` is None."""
    if seen is None:
        return sa.true()
    return sa.case(
        (table.c.kind == CHECKPOINT, _is_named(table.c.name, seen)),
        (table.c.kind == REMOTE, sa.literal(seen.remotes)),
        (table.c.kind == CATALOG, sa.literal(seen.catalog)),
        else_=sa.false(),
    )


def _is_named(name: sa.ColumnElement[object], seen: VisibilityFilter) -> Condition:
    namespace = sa.func.substr(name, 1, position(name, "/") - 1)
    cases = [
        (among(column, paths), sa.literal(shown))
        for column, of_repository in ((name, True), (namespace, False))
        for shown in (True, False)
        if (paths := _paths(seen.shown if shown else seen.hidden, of_repository))
    ]
    return sa.case(*cases, else_=sa.literal(seen.names)) if cases else sa.literal(seen.names)


def _paths(paths: frozenset[str], of_repository: bool) -> list[str]:
    return sorted(path for path in paths if ("/" in path) == of_repository)
