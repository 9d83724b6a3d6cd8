"""Facets: by what else the results of a search can be told apart, and how many have each value."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from zoo.domain.query import Query
from zoo.registry.items import CHECKPOINT, ITEM
from zoo.registry.page import matching
from zoo.registry.seen import VisibilityFilter

__all__ = ["BOUNDS", "Facets", "facets"]

BOUNDS = (1_000_000, 10_000_000, 30_000_000, 100_000_000)
"""Between these numbers of parameters are the sizes that are counted."""
COLUMNS = {"backbone": ITEM.c.backbone, "arch": ITEM.c.architecture, "license": ITEM.c.license}


@dataclass(frozen=True, slots=True)
class Facets:
    """How many of the results that were looked at have which values.

    Attributes:
        total: How many were looked at.
        complete: Whether these are all.
        counts: By field of a query, how many have each value; ``params`` has the number of `BOUNDS`
            that are at most the value, and ``pulled`` ``yes`` and ``no``.
    """

    total: int
    complete: bool
    counts: dict[str, dict[str, int]]


def facets(
    connection: Connection, query: Query, *, at_most: int, seen: VisibilityFilter | None = None
) -> Facets:
    """Count the results of a query, whatever its limit; ``at_most`` so many are looked at."""
    size = sum(sa.case((ITEM.c.params >= bound, 1), else_=0) for bound in BOUNDS)
    sized = sa.case((ITEM.c.params.is_(None), None), else_=size)
    fields = (*COLUMNS.values(), sized, ITEM.c.kind, sa.cast(ITEM.c.datasets, sa.Text))
    rows = connection.execute(matching(connection, query, fields, at_most + 1, seen)).all()
    complete, rows = len(rows) <= at_most, rows[:at_most]
    columns = [*zip(*rows, strict=True)] or [()] * len(fields)
    counts = {field: Counter(values) for field, values in zip(COLUMNS, columns, strict=False)}
    sizes, kinds, datasets = columns[-3:]
    counts["params"] = Counter(str(size) for size in sizes if size is not None)
    counts["pulled"] = Counter("yes" if kind == CHECKPOINT else "no" for kind in kinds)
    counts["dataset"] = Counter()
    for listed, number in Counter(datasets).items():  # most have the same
        counts["dataset"].update(dict.fromkeys(json.loads(listed) if listed else (), number))
    known = {field: {text: n for text, n in c.items() if text} for field, c in counts.items()}
    return Facets(len(rows), complete, known)
