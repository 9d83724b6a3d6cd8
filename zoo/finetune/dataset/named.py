"""Named datasets, as timm's own scripts take them: ``torch/mnist?root=data``.

What those scripts take as options of their own follows the name as in a web address:

| option | timm's | for | means |
| --- | --- | --- | --- |
| ``root`` | ``--data-dir`` | all | the folder that holds or is to hold the data |
| ``train`` | ``--train-split`` | all | what the dataset calls the split to train on |
| ``validation`` | ``--val-split`` | all | the same for validation |
| ``test`` | | all | the same for testing |
| ``image`` | ``--input-key`` | hfds, wds | the field that holds the image |
| ``label`` | ``--target-key`` | hfds, wds | the field that holds the target |
| ``download`` | ``--dataset-download`` | torch | ``yes``: fetch what is not in ``root`` |

Without ``train``, ``validation`` and ``test`` the splits are those that the dataset has. Samples
are drawn in an order of our own and read again in each epoch, so datasets that can only be read
from end to end are refused, except shards of ``wds/…`` in tar files that are here: these are read
once for a list of what is where.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode

from zoo.domain.task import Task
from zoo.errors import InvalidData, ZooError
from zoo.finetune.dataset.dataset import Label, Listing, Row, natural_sort
from zoo.finetune.dataset.images import Images
from zoo.finetune.dataset.spec import parse_named

__all__ = [
    "ELSEWHERE",
    "Entry",
    "list_entries",
    "list_named",
    "located",
    "without_folders",
]

ELSEWHERE = re.compile(r"[a-z0-9]+:")
"""How a location begins that is not on this machine."""


def list_named(spec: str, task: Task | None) -> Listing:
    """List a named dataset.

    Raises:
        InvalidData: It cannot be opened, or has no random access.
        MissingPackage: What reads it is not installed.
    """
    named = parse_named(spec)
    try:
        if named.kind == "torch":
            from zoo.finetune.dataset.timm_sets import list_torch

            return list_torch(named, task)
        if named.kind == "hfds":
            from zoo.finetune.dataset.timm_sets import list_hfds

            return list_hfds(named, task)
        from zoo.finetune.dataset.shards import list_shards

        return list_shards(named, task)
    except ZooError:
        raise
    except Exception as error:  # whatever these libraries raise
        text = str(error).strip() or type(error).__name__
        raise InvalidData(spec, [f"it cannot be opened: {text}"]) from error


def located(spec: str) -> str:
    """The same dataset from whatever folder: its paths are absolute.

    ``spec`` is one that was listed.
    """
    _, kind, name, options = parse_named(spec)
    if kind == "torch":
        options = {"root": ".", **options}
    elif kind == "wds":
        options = {"root": name, **options}
    elif Path(name).exists():
        name = str(Path(name).absolute())
    if "root" in options and not ELSEWHERE.match(options["root"]):
        options["root"] = str(Path(options["root"]).expanduser().absolute())
    return _written(kind, name, options)


def without_folders(spec: str) -> str:
    """The same dataset without the folders of this machine: what others may read.

    ``spec`` is what `located` gave.
    """
    _, kind, name, options = parse_named(spec)
    if Path(name).is_absolute():
        name = Path(name).name
    return _written(kind, name, {key: value for key, value in options.items() if key != "root"})


def _written(kind: str, name: str, options: Mapping[str, str]) -> str:
    query = urlencode(options, safe="/{}|.:;,", quote_via=quote)
    return f"{kind}/{name}" + (f"?{query}" if query else "")


class Entry(NamedTuple):
    """An image of a named dataset; see `Row`."""

    key: str
    part: str
    value: object  # its target as the dataset has it
    problem: str = ""


def list_entries(
    spec: str, entries: Iterable[Entry], names: Sequence[str], images: Images, task: Task | None
) -> Listing:
    """A listing of what a named dataset holds; ``names`` are its classes, if it has any.

    Without a ``task``, whole numbers and names are classes, lists of these are labels, and other
    numbers are regression.

    Raises:
        InvalidData: It has no image, or the targets cannot be what ``task`` says.
    """
    plain = [
        entry._replace(value=entry.value.tolist()) if hasattr(entry.value, "tolist") else entry
        for entry in entries
    ]
    if not plain:
        raise InvalidData(spec, ["no images"])
    looks = next((_task(entry.value) for entry in plain if entry.value is not None), None)
    task = task or looks or "classification"
    if looks not in (None, task) and (looks, task) != ("classification", "regression"):
        raise InvalidData(spec, [f"its targets are for {looks}, not for {task}"])
    rows = tuple(_row(entry, task, names) for entry in plain)
    classes = _classes(rows, task, names)
    return Listing(task=task, classes=classes, rows=rows, images=images, cache_key=spec)


def _task(value: object) -> Task:
    if isinstance(value, list | tuple):
        return "regression" if any(isinstance(item, float) for item in value) else "multi-label"
    return "regression" if isinstance(value, float) else "classification"


def _row(entry: Entry, task: Task, names: Sequence[str]) -> Row:
    label, problem = None, entry.problem
    if not problem:
        try:
            label = _label(entry.value, task, names)
        except (ValueError, TypeError) as error:
            problem = f"has no label: {error}"
    return Row(key=entry.key, label=label, part=entry.part, problem=problem)


def _label(value: object, task: Task, names: Sequence[str]) -> Label:
    if task == "classification":
        return _name(value, names)
    several = value if isinstance(value, list | tuple) else [value]
    if task == "multi-label":
        return tuple(_name(item, names) for item in several)
    numbers = tuple(map(float, several))
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
