"""The table of what a search found: as many columns as fit the terminal."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zoo_cli.output import clean, count, note, on_terminal, table

if TYPE_CHECKING:
    from zoo import Zoo
    from zoo.registry import Found

__all__ = ["at_remote", "note_empty", "show_found"]

NAME, GAP = "NAME", 2
WORDS = {"ahead": "ahead of {}", "behind": "behind {}", "diverged": "diverged from {}"}
NONE = "-"


def show_found(found: Sequence[Found], asked: str) -> None:
    """Print what was found; a column that is not always there is, where ``asked`` names its field.

    On a terminal, columns that tell nothing, and then the least important ones, make room.
    """
    wanted = {**USUAL, **{field: tell for field, tell in EXTRA.items()
                          if re.search(rf"\b{field}\b", asked)}}  # fmt: skip
    if any(_differs(row) for row in found):
        wanted |= COMPARED
    columns = {field.upper(): [tell(row) for row in found] for field, tell in wanted.items()}
    for metric in re.findall(r"\bmetric\.([\w.]+)", asked):
        columns[f"metric.{metric}"] = [_metric(row, metric) for row in found]
    if on_terminal(sys.stdout):
        columns = _fitting(columns, shutil.get_terminal_size().columns)
    table(tuple(columns), list(zip(*columns.values(), strict=True)))


def _fitting(columns: dict[str, list[str]], width: int) -> dict[str, list[str]]:
    """The columns that there is room for, without those that tell nothing."""
    kept = {name: cells for name, cells in columns.items() if name == NAME or {*cells} - {NONE}}
    for name in LEAST_FIRST:
        if sum(_width(*column) + GAP for column in kept.items()) - GAP > width:
            kept.pop(name, None)
    return kept


def _width(name: str, cells: list[str]) -> int:
    return max(len(clean(cell)) for cell in (name, *cells))


def at_remote(there: Mapping[str, Any]) -> str:
    """What a remote has under a name, and the status of what is here."""
    here = f", here: {there['here']}" if there["here"] else ""
    return f"{there['remote']}: {there['manifest'][7:19]}, moved {there['at']}{here}"


def _differs(row: Found) -> bool:
    return any(there.here not in (None, "same") for there in row.at_remotes)


def note_empty(zoo: Zoo) -> None:
    """Say what fills an empty registry."""
    note("the registry is empty; list timm's checkpoints: zoo index timm")
    for name in zoo.remotes():
        note(f"what {clean(name)} has is not known here yet: zoo fetch {clean(name)}")


def _here(row: Found) -> str:
    """Where it is; and its status against what remotes have under the same name."""
    if not row.pulled:
        statuses = {
            there.here for there in row.at_remotes if there.remote in row.remotes and there.here
        }
        status = f" (here: {', '.join(sorted(statuses))})" if statuses else ""
        return (", ".join(row.remotes) or NONE) + status
    same = [there.remote for there in row.at_remotes if there.here == "same"]
    others = [WORDS[there.here].format(there.remote) for there in row.at_remotes
              if there.here in WORDS]  # fmt: skip
    return ", ".join(["yes", *same, *others])


def _metric(row: Found, name: str) -> str:
    return f"{row.metrics[name]:.4f}" if name in row.metrics else NONE


USUAL: dict[str, Callable[[Found], str]] = {
    "name": lambda row: row.name,
    "params": lambda row: count(row.params),
    "input": lambda row: "x".join(map(str, row.input_size[1:])) if row.input_size else NONE,
    "classes": lambda row: NONE if row.num_classes is None else str(row.num_classes),
    "license": lambda row: row.license or NONE,
    "here": lambda row: _here(row),
    "accuracy": lambda row: _metric(row, "accuracy"),
}
EXTRA: dict[str, Callable[[Found], str]] = {
    "loss": lambda row: _metric(row, "loss"),
    "head": lambda row: row.head or NONE,
    "frozen": lambda row: NONE if row.frozen is None else f"{row.frozen:.0%}",
    "dataset": lambda row: ", ".join(row.datasets) or NONE,
    "source": lambda row: ", ".join(row.sources) or NONE,
    "updated": lambda row: (row.updated or NONE)[:10],
}
COMPARED: dict[str, Callable[[Found], str]] = {
    "checkpoint": lambda row: row.manifest.short if row.manifest else NONE,
    "moved": lambda row: row.updated or NONE,
}
"""Where a name points at one thing here and at another elsewhere."""
LEAST_FIRST = ("CLASSES", "INPUT", "LICENSE", "MOVED", "HERE", "PARAMS", "SOURCE", "HEAD",
               "DATASET", "UPDATED", "FROZEN", "LOSS", "ACCURACY")  # fmt: skip
