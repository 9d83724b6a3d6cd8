"""Listing: what a dataset says of itself before any image has been opened."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from zoo.domain.task import Task
from zoo.finetune.dataset.dataset import Sample
from zoo.finetune.dataset.images import Images

__all__ = ["PART_NAMES", "Label", "Listing", "Row", "natural_sort"]

PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""What people call the parts of a dataset."""

Label = str | tuple[str, ...] | tuple[float, ...]
"""A class; the labels that are present; the numbers of a regression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One image as it is listed.

    Attributes:
        key: See `Sample.key`.
        label: What it shows; None where that is not known.
        part: ``train``, ``validation`` or ``test`` where the dataset says so, else empty.
        group: What it stays in one part with, if anything.
        problem: Why it cannot be used, if that is known already.
    """

    key: str
    label: Label | None
    part: str = ""
    group: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All images of a dataset as they are listed.

    Attributes:
        task: What the labels are.
        classes: In index order; names of labels, or of columns for regression.
        rows: One for each image.
        images: Reads them.
        cache_key: Names the cache of what was checked of this dataset's images.
        problems: What is wrong with the dataset as a whole.
        remarks: What is odd about it.
    """

    task: Task
    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    images: Images
    cache_key: str
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def samples(self, rows: Iterable[Row]) -> list[Sample]:
        """Rows, all of which have labels, with these as targets."""
        index = {name: number for number, name in enumerate(self.classes)}

        def target(label: Label) -> int | tuple[float, ...]:
            if self.task == "classification":
                return index[str(label)]
            if self.task == "multi-label":
                return tuple(float(name in label) for name in self.classes)
            return tuple(map(float, label))

        return [Sample(row.key, target(row.label)) for row in rows if row.label is not None]


def natural_sort(names: Iterable[str]) -> tuple[str, ...]:
    """Names sorted as people count, ``2`` before ``10``, small and capital letters alike."""
    return tuple(sorted(set(names), key=_counted))


def _counted(name: str) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"(\d+)", name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name
