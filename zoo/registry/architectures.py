"""Architectures: which ones there are weights of, here, at remotes and in the catalog."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, case, func, select

from zoo.registry.conditions import visible
from zoo.registry.items import CATALOG, CHECKPOINT, ITEM, REMOTE
from zoo.registry.sql import like

__all__ = ["KnownArchitecture", "known_architectures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownArchitecture:
    """An architecture that there are weights of.

    Attributes:
        backbone: Backbone plugin.
        architecture: Its name.
        params: Parameters of its largest checkpoint; None where unknown.
        checkpoint: How many names of checkpoints are here.
        remote: How many only remotes have.
        catalog: How many published ones are not here.
    """

    backbone: str
    architecture: str
    params: int | None
    checkpoint: int
    remote: int
    catalog: int


def known_architectures(connection: Connection, pattern: str = "*") -> list[KnownArchitecture]:
    """All whose name fits ``pattern`` (``*`` stands for any characters), by name."""

    def of_kind(kind: str) -> ColumnElement[int]:
        return func.sum(case((ITEM.c.kind == kind, 1), else_=0)).label(kind)

    statement = (
        select(
            ITEM.c.backbone,
            ITEM.c.architecture,
            func.max(ITEM.c.params).label("params"),
            *map(of_kind, (CHECKPOINT, REMOTE, CATALOG)),
        )
        .where(visible(), like(ITEM.c.architecture, pattern))
        .group_by(ITEM.c.architecture, ITEM.c.backbone)
        .order_by(ITEM.c.architecture, ITEM.c.backbone)
    )
    return [KnownArchitecture(**row._mapping) for row in connection.execute(statement)]
