"""What timm publishes of its weights, and what an image costs them, without importing timm.

``published.csv`` comes with zoo and is made by ``make published`` (`zoo_timm.make_published`). Its
rows are of weights by name, which are the same in every version of timm. Its head names its source.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from zoo.domain.catalog import CatalogEntry

__all__ = ["COLUMNS", "DATASET", "TABLE", "head", "with_published"]

TABLE = Path(__file__).with_name("published.csv")
COLUMNS = ("name", "macs", "top1", "top5", "top1_size")
"""Multiply-accumulates of one image at the size of the weights; percent of ImageNet-1k's validation
images, and the height of the image that these were measured at.
"""
DATASET = "imagenet-1k"
SOURCE = "published by timm, not measured here"


def head() -> list[str]:
    """The lines that say where the table is from."""
    with TABLE.open(encoding="utf-8") as file:
        return [line[2:].rstrip() for line in file if line.startswith("#")]


def with_published(entries: Iterable[CatalogEntry]) -> Iterator[CatalogEntry]:
    """``entries``, with what is published of each."""
    rows = _rows()
    for entry in entries:
        numbers = rows.get(entry.name.removeprefix("timm/"), {})
        known = {name: float(value) for name, value in numbers.items() if value}
        if "top1" in known:
            entry = replace(entry, datasets=(DATASET,), facts={"results": SOURCE})
        yield replace(entry, metrics=known) if known else entry


def _rows() -> dict[str, dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {row.pop("name"): row for row in rows}
