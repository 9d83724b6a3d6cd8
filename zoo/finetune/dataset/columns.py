"""Read a table, and tell what its columns are: without torch, so that a slip is told at once."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from zoo.domain.task import TASKS, Task
from zoo.errors import InvalidData
from zoo.finetune.dataset.parquet import Cells, open_parquet
from zoo.finetune.dataset.spec import DatasetOptions

__all__ = [
    "Columns",
    "Table",
    "check_columns",
    "columns_of",
    "is_rule",
    "open_table",
    "path_column",
]

FOLDER = "folder"
"""The rule of groups that takes the folder of an image."""
PATHS = ("path", "file", "image", "filename", "file_name", "filepath", "image_path", "image_id")
CLASSES = ("label", "class", "class_name", "category")
"""What else a column of classes is called. The names here and in `PATHS` are so in any case."""


class Columns(NamedTuple):
    """What the columns of a table are."""

    path: str
    split: str | None
    group: str | None
    task: Task
    labels: tuple[str, ...]
    joined: bool = False  # one column holds all labels
    guessed: bool = False  # nothing says what they hold: none has a name that is known

    @property
    def used(self) -> list[str]:
        """All of them, each once."""
        return list(dict.fromkeys(filter(None, (self.path, self.split, self.group, *self.labels))))


class Table(NamedTuple):
    """A table of which nothing is known but its head, and how large it is."""

    names: list[str]  # of its columns
    rows: int
    read: Callable[[Collection[str]], list[Cells]]
    """The rows, with at least the cells of some columns; `InvalidData` where that fails."""


def open_table(path: Path) -> Table:
    """Open a table.

    Raises:
        InvalidData: It is no table, has no rows, or two columns are called the same.
        MissingPackage: What reads Parquet is not installed.
    """
    table = Table(*(open_parquet if path.suffix.lower() == ".parquet" else _delimited)(path))
    if twice := sorted({name for name in table.names if table.names.count(name) > 1}):
        raise InvalidData(path, [f"two columns are called '{name}'" for name in twice])
    if table.rows < 1:
        raise InvalidData(path, ["the table has no rows"])
    return table


def columns_of(
    path: Path, names: Sequence[str], task: Task | None, group_by: str, opening: DatasetOptions
) -> Columns:
    """What the columns of these ``names`` are; ``task`` decides where they allow several.

    Raises:
        InvalidData: They do not say it.
    """
    return _columns(path, names, task, _group(path, names, group_by), opening)


def check_columns(path: Path, task: Task | None, group_by: str, opening: DatasetOptions) -> None:
    """See that the columns of a table can be used, where no package is needed to read it.

    Raises:
        InvalidData: They cannot.
    """
    if path.is_file() and path.suffix.lower() != ".parquet":
        columns_of(path, open_table(path).names, task, group_by, opening)


def is_rule(group_by: str) -> bool:
    """Whether it is a rule on paths (``folder``, or a pattern with a group), and no column."""
    return group_by == FOLDER or "(" in group_by


def _delimited(path: Path) -> tuple[list[str], int, Callable[[Collection[str]], list[Cells]]]:
    try:
        # Spreadsheets begin a file with a byte order mark; a cell may hold any end of a line.
        text = path.read_bytes().decode("utf-8-sig")
        lines = list(
            csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_between(text))
        )
    except UnicodeDecodeError as error:
        raise InvalidData(path, ["the table is not in UTF-8"]) from error
    except csv.Error as error:
        raise InvalidData(path, [f"the table cannot be read: {error}"]) from error
    lines = [line for line in lines if line]
    head = [name.strip() for name in lines[0]] if lines else []
    uneven = [number for number, line in enumerate(lines[1:], 1) if len(line) != len(head)]
    if uneven:
        numbers = ", ".join(map(str, uneven[:10])) + (", …" if len(uneven) > 10 else "")
        raise InvalidData(path, [f"rows with more or fewer cells than the head: {numbers}"])
    rows: list[Cells] = [dict(zip(head, line, strict=True)) for line in lines[1:]]
    return head, len(rows), lambda _: rows


def _between(text: str) -> str:
    """What stands between the cells of a table, by its head: a spreadsheet writes semicolons where
    commas are in numbers, and a ``.tsv`` may be called ``.csv``.
    """
    head = re.sub(r'"[^"]*"', "", re.split("[\r\n]", text.lstrip(), maxsplit=1)[0])
    return max(",;\t", key=head.count)


def _group(path: Path, names: Sequence[str], group_by: str) -> str | None:
    if group_by in names:
        return group_by
    return (
        _known(path, names, group_by, "to group by") if group_by and not is_rule(group_by) else None
    )


def _columns(
    path: Path, names: Sequence[str], task: Task | None, group: str | None, opening: DatasetOptions
) -> Columns:
    where = path_column(path, names, opening)
    split = "split" if "split" in names else None
    numbers = tuple(n for n in names if n == "target" or n.startswith("target_"))
    several = ("labels",) if "labels" in names else ()
    options: dict[Task, tuple[str, ...]] = {
        "classification": ("label",) if "label" in names else (),
        "multi-label": several,
        "regression": numbers,
    }
    if opening.label_column:
        options = _chosen(path, names, task, opening.label_column)
    elif not any(options.values()) and (column := _called(CLASSES, names)):
        options["classification"] = (column,)
    if task == "regression" and not options["regression"]:
        options["regression"] = options["classification"]
    guessed = not any(options.values())
    if guessed:
        known = (where, split, group)
        kind: Task = "classification" if task == "classification" else "multi-label"
        options[kind] = tuple(name for name in names if name not in known)
    usable = [name for name, columns in options.items() if columns and task in (None, name)]
    if len(usable) == 1:
        chosen = options[usable[0]]
        one = chosen == ("labels",) or (len(chosen) == 1 and bool(opening.label_column))
        joined = usable[0] == "multi-label" and one
        return Columns(where, split, group, usable[0], chosen, joined, guessed)
    if usable:
        raise InvalidData(path, [f"it has columns for {' and for '.join(usable)}: name the task"])
    needs = "'label', 'labels' or 'target', or columns of 0 and 1"
    what = f"no columns for {task}" if task else "no column that says what an image shows"
    problem = f"{what} ({needs}); it has: {', '.join(names)}"
    raise InvalidData(path, [problem], hint="--label-column NAME says which it is")


def path_column(path: Path, names: Sequence[str], opening: DatasetOptions) -> str:
    """The column that says where an image is, or holds it; `InvalidData` if none does."""
    column = _called(PATHS, names)
    if opening.path_column:
        column = _known(path, names, opening.path_column, "(--path-column)")
    if column is None:
        first, *others = PATHS
        needed = f"'{first}' (or {', '.join(others)})"
        problem = f"no column {needed}; it has: {', '.join(names)}"
        raise InvalidData(path, [problem], hint="--path-column NAME says which it is")
    return column


def _called(known: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of some names that a column has, in any case."""
    folded = {name.casefold(): name for name in reversed(names)}
    return next((folded[name] for name in known if name in folded), None)


def _known(path: Path, names: Sequence[str], name: str, what: str) -> str:
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise InvalidData(path, [f"no column '{name}' {what}; it has: {', '.join(names)}{hint}"])


def _chosen(
    path: Path, names: Sequence[str], task: Task | None, given: str
) -> dict[Task, tuple[str, ...]]:
    """The columns of the label that the user names, for the task that they are for."""
    asked = [given] if given in names else [name.strip() for name in given.split(",")]
    columns = tuple(_known(path, names, name, "(--label-column)") for name in asked)
    kind = task or ("classification" if len(columns) == 1 else "multi-label")
    nothing: dict[Task, tuple[str, ...]] = dict.fromkeys(TASKS, ())
    return {**nothing, kind: columns}
