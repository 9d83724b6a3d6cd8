"""Targets of named datasets, which are numbers, names, or lists of either, as labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from zoo.domain.task import Task
from zoo.errors import InvalidData
from zoo.finetune.dataset.images import Images
from zoo.finetune.dataset.listing import Label, Listing, Row, natural_sort

__all__ = ["Entry", "list_entries"]


class Entry(NamedTuple):
    """An image of a named dataset.

    Attributes:
        key: See `Sample.key`.
        part: See `Row.part`.
        value: Its target as the dataset has it.
        problem: See `Row.problem`.
    """

    key: str
    part: str
    value: object
    problem: str = ""


def list_entries(
    spec: str, entries: Iterable[Entry], names: Sequence[str], images: Images, task: Task | None
) -> Listing:
    """A listing of what a named dataset holds.

    Args:
        spec: What the user typed.
        entries: Its images.
        names: Class names in index order; empty where it has none.
        images: Reads them.
        task: What the targets are; None: whole numbers and names are classes, lists of these are
            labels, other numbers are regression.

    Raises:
        InvalidData: It has no image, or the targets cannot be what ``task`` says.
    """
    plain = [entry._replace(value=_plain(entry.value)) for entry in entries]
    if not plain:
        raise InvalidData(spec, ["no images"])
    looks = next((_task(entry.value) for entry in plain if entry.value is not None), None)
    task = task or looks or "classification"
    if looks not in (None, task) and (looks, task) != ("classification", "regression"):
        raise InvalidData(spec, [f"its targets are for {looks}, not for {task}"])
    rows = [_row(entry, task, names) for entry in plain]
    return Listing(
        task=task,
        classes=_classes(rows, task, names),
        rows=tuple(rows),
        images=images,
        cache_key=spec,
    )


def _plain(value: object) -> object:
    return value.tolist() if hasattr(value, "tolist") else value


def _task(value: object) -> Task:
    if isinstance(value, list | tuple):
        return "regression" if any(isinstance(item, float) for item in value) else "multi-label"
    return "regression" if isinstance(value, float) else "classification"


def _row(entry: Entry, task: Task, names: Sequence[str]) -> Row:
    if entry.problem:
        return Row(key=entry.key, label=None, part=entry.part, problem=entry.problem)
    try:
        label = _label(entry.value, task, names)
    except (ValueError, TypeError) as error:
        return Row(key=entry.key, label=None, part=entry.part, problem=f"has no label: {error}")
    return Row(key=entry.key, label=label, part=entry.part)


def _label(value: Any, task: Task, names: Sequence[str]) -> Label:
    if task == "classification":
        return _name(value, names)
    several = value if isinstance(value, list | tuple) else [value]
    if task == "multi-label":
        return tuple(_name(item, names) for item in several)
    numbers = tuple(float(item) for item in several)
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{value!r} is not a finite number")
    return numbers


def _name(value: object, names: Sequence[str]) -> str:
    if isinstance(value, str) and value:
        return value
    # Hidden labels are published as -1.
    if not isinstance(value, int) or value < 0 or (names and value >= len(names)):
        raise ValueError(f"{value!r} is none of the classes")
    return names[value] if names else str(value)


def _classes(rows: Sequence[Row], task: Task, names: Sequence[str]) -> tuple[str, ...]:
    labels = [row.label for row in rows if row.label is not None]
    if task == "regression":
        count = max(map(len, labels), default=1)
        return ("target",) if count == 1 else tuple(f"target_{n}" for n in range(count))
    if names:
        return tuple(names)
    return natural_sort(
        str(name) for label in labels for name in ((label,) if isinstance(label, str) else label)
    )
