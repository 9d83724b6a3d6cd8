"""Tables of paths and labels: ``.csv``, ``.tsv`` or ``.parquet``, with one row for each image.

| column | holds |
| --- | --- |
| what ``path_column`` names, else the first of `columns.PATHS` | where the image is: from \
``root``, which is the table's folder, or absolute; a name without a suffix has that of the file \
that is there |
| what ``label_column`` names | its class; with a named task, its labels or number |
| several that it names, with commas between them | 0 and 1, or with regression numbers |
| ``label`` | its class |
| ``labels`` | multi-label: names with ``\\|`` between them; an empty cell: none of them |
| ``target``, or ``target_…`` several times | regression: numbers |
| ``label``, if there is no such column and the task is named | regression: numbers |
| ``class``, …, the first of `columns.CLASSES`, if none of these is there | its class |
| any others, if none of these is there | multi-label: each is a label, 1 present, 0 not; if the \
task is classification, 1 in one of them |
| ``split`` | optional: train, val or test (see `PART_NAMES`) |
| what ``group_by`` names | optional: whom or what the image is of, which stays in one part |

The table is the user's own: its paths may lead anywhere. Class names and labels are in the order in
which people count (`natural_sort`), label columns and numbers in that of the columns.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, product
from pathlib import Path, PurePosixPath
from typing import TypeVar
from unicodedata import normalize

from zoo.backbones.image_files import SUFFIXES
from zoo.backbones.preprocess import EncodedImage
from zoo.domain.task import Task
from zoo.domain.words import some
from zoo.errors import InvalidData, InvalidOption
from zoo.finetune.dataset.columns import Columns, Table, columns_of, open_table, path_column
from zoo.finetune.dataset.dataset import (
    PART_NAMES,
    Label,
    Listing,
    Row,
    natural_sort,
)
from zoo.finetune.dataset.images import FileImages, Images, state_of
from zoo.finetune.dataset.packed import packed, unpacked
from zoo.finetune.dataset.parquet import Cells, is_packed
from zoo.finetune.dataset.spec import DatasetOptions, tables_in

__all__ = ["list_table", "listed_images"]

MISSING = frozenset({"", "nan", "null", "none", "na", "n/a", "<na>"})
"""What programs write, in any case, where there is no value."""

T = TypeVar("T")


def list_table(
    path: Path,
    task: Task | None,
    group_by: str,
    opening: DatasetOptions,
    cache: Path | None,
) -> Listing:
    """List the rows of a table, or of a folder of Parquet files; ``task`` decides where its columns
    allow several. Images that lie in them are copied into the ``cache`` (`unpacked`).

    Raises:
        InvalidData: It is no such table, or has no such column.
        InvalidOption: They are to be grouped by their paths, and have none.
        MissingPackage: What reads Parquet is not installed.
    """
    files = tables_in(path)
    before = [state_of(file) for file in files]
    tables = _opened(path, files)
    names = tables[0].names
    columns = columns_of(files[0], names, task, group_by, opening)
    inside = _are_packed(files, columns.path, opening)
    if inside and group_by and not columns.group:
        text = f"--group-by {group_by} is a rule on paths, and {path} holds the images themselves"
        raise InvalidOption(f"{text}: a column of it groups them (it has: {', '.join(names)})")
    rows = chain.from_iterable(table.read(columns.used) for table in tables)
    root = _root(files[0], opening)
    seen: set[str] = set()
    listed = [
        _row(number, cells, columns, None if inside else root, seen)
        for number, cells in enumerate(rows, 1)
    ]
    images: Images = FileImages(root)
    if inside:
        images = unpacked(dict(zip(files, before, strict=True)), columns.path, cache)
        none = [not row.problem and row.key not in images.spans for row in listed]
        listed = [
            replace(row, problem="has no image") if lacks else row
            for row, lacks in zip(listed, none, strict=True)
        ]
    return Listing(
        task=columns.task,
        classes=_classes(columns, listed),
        rows=tuple(listed),
        images=images,
        cache_key="\n".join(str(each.resolve()) for each in (path, *([root] * bool(opening.root)))),
        problems=() if task else _doubts(columns, listed),
        taken=_taken(columns) if columns.guessed or not task else "",
    )


def _opened(path: Path, files: Sequence[Path]) -> list[Table]:
    """All tables that ``path`` is; each of several is of the split that its name begins with
    (``train-00000-of-00002.parquet``), if all are.
    """
    parts = [re.split(r"[-_.\d]", file.name)[0].lower() for file in files]
    tables = [open_table(file) for file in files]
    names = tables[0].names
    for file, table in zip(files, tables, strict=True):
        if table.names != names:
            raise InvalidData(file, [f"has other columns than {files[0].name}"])
    if path.is_dir() and "split" not in names and all(part in PART_NAMES for part in parts):
        return [_of_split(part, table) for part, table in zip(parts, tables, strict=True)]
    return tables


def _of_split(part: str, table: Table) -> Table:
    def read(columns: Collection[str]) -> list[Cells]:
        inside = [name for name in columns if name != "split"]
        return [{**cells, "split": part} for cells in table.read(inside)]

    return Table([*table.names, "split"], table.rows, read)


def _are_packed(files: Sequence[Path], column: str, opening: DatasetOptions) -> bool:
    inside = {is_packed(file, column) for file in files}
    if len(inside) > 1:
        raise InvalidData(
            files[0].parent, [f"'{column}' holds paths in some files, images in others"]
        )
    if inside == {True} and opening.root:
        raise InvalidData(files[0], [f"'{column}' holds images: --root is for paths"])
    return inside == {True}


def listed_images(
    images: Iterable[T], opening: DatasetOptions, *, names: bool = False
) -> Iterator[T | Path | EncodedImage]:
    """The same, but in the place of each path of a table the images that its rows name, or hold;
    of these only their ``names``, without bytes, if that is asked for.
    """
    for each in images:
        path = Path(each) if isinstance(each, str | Path) else Path()
        files = tables_in(path) if isinstance(each, str | Path) else ()
        if not files:
            yield each
            continue
        tables, root = _opened(path, files), _root(path, opening)
        column = path_column(path, tables[0].names, opening)
        if _are_packed(files, column, opening):
            for file, table in zip(files, tables, strict=True):
                entries = (EncodedImage(f"{file}/{number}", b"") for number in range(table.rows))
                yield from entries if names else packed(file, column)
            continue
        rows = list(chain.from_iterable(table.read([column]) for table in tables))
        if empty := sum(not (cells[column] or "").strip() for cells in rows):
            raise InvalidData(path, [f"{empty} rows have no path"])
        yield from (root / _as_there((cells[column] or "").strip(), root) for cells in rows)


def _root(path: Path, opening: DatasetOptions) -> Path:
    above = path if path.is_dir() else path.parent
    root = Path(opening.root).expanduser() if opening.root else above
    if not root.is_dir():
        raise InvalidData(path, [f"the root of its paths, {root}, is no folder"])
    return root


def _row(number: int, cells: Cells, columns: Columns, root: Path | None, seen: set[str]) -> Row:
    path = (cells[columns.path] or "").strip()
    if not path:
        return Row(key=f"row {number}", label=None, problem="has no path")
    key = _as_there(posixpath.normpath(path), root) if root else path
    if key in seen:
        return Row(key=f"{key} in row {number}", label=None, problem="is listed before")
    seen.add(key)
    part = group = problem = ""
    if columns.split:
        name = (cells[columns.split] or "").strip()
        part = PART_NAMES.get(name.lower(), "")
        if not part:
            says = f"the split '{name}', which is none of" if name else "an empty split, none of"
            problem = f"has {says} train, val, test"
    if columns.group:
        group = (cells[columns.group] or "").strip()
        if group.lower() in MISSING:
            problem = problem or f"has no group in the column '{columns.group}'"
    label = None
    try:
        read = _joined if columns.joined else READ[columns.task]
        label = read(cells, columns.labels)
    except ValueError as error:
        # A class may be called None, where its images lie in a folder that is called so.
        folder, labels = PurePosixPath(key).parent.name, [cells[name] for name in columns.labels]
        if columns.task == "classification" and labels == [folder]:
            label = folder
        else:
            problem = str(error)
    return Row(key=key, label=label, part=part, group=group, problem=problem)


def _as_there(key: str, root: Path) -> str:
    """A path as the file is called that is there. Tables may leave out the suffix of its images,
    and a Mac writes ``é`` as two characters where other systems write one.
    """
    suffixes: tuple[str, ...] = ("",)
    if PurePosixPath(key).suffix.lower() not in SUFFIXES:
        suffixes = ("", *sorted(SUFFIXES))
    elif key.isascii():
        return key
    forms = dict.fromkeys((key, normalize("NFC", key), normalize("NFD", key)))
    with suppress(OSError):  # too long for a name
        for form, suffix in product(forms, suffixes):
            if (root / (form + suffix)).is_file():
                return form + suffix
    return key


def _class(cells: Cells, columns: Sequence[str]) -> Label:
    if len(columns) > 1:
        present = _present(cells, columns)
        if len(present) != 1:
            raise ValueError(f"has 1 in {len(present)} of its columns: it needs one class")
        return str(present[0])
    value = (cells[columns[0]] or "").strip()
    if value.lower() in MISSING:
        raise ValueError("has no label")
    return value


def _joined(cells: Cells, columns: Sequence[str]) -> Label:
    value = cells[columns[0]]
    if value is None or value.strip().lower() in MISSING - {""}:
        raise ValueError("has no labels (an empty cell would mean none of them)")
    return tuple(name.strip() for name in value.split("|") if name.strip())


def _present(cells: Cells, columns: Sequence[str]) -> Label:
    values = {name: (cells[name] or "").strip().lower() for name in columns}
    for name, value in values.items():
        if value not in ("0", "1", "0.0", "1.0", "false", "true"):
            raise ValueError(f"has '{value}' in the column '{name}', which is neither 0 nor 1")
    return tuple(name for name, value in values.items() if value in ("1", "1.0", "true"))


def _numbers(cells: Cells, columns: Sequence[str]) -> Label:
    numbers = []
    for name in columns:
        value = cells[name] or ""
        if not _is_number(value):
            raise ValueError(f"has '{value}' in the column '{name}', which is not a finite number")
        numbers.append(float(value))
    return tuple(numbers)


READ: dict[Task, Callable[[Cells, Sequence[str]], Label]] = {
    "classification": _class,
    "multi-label": _present,
    "regression": _numbers,
}


def _doubts(columns: Columns, rows: Sequence[Row]) -> tuple[str, ...]:
    """What to say of classes that look like numbers to be learned: most have one image only."""
    counts = Counter(str(row.label) for row in rows if row.label is not None)
    alone = sum(count == 1 for count in counts.values())
    some_repeat = columns.task != "classification" or 2 * alone <= len(counts)
    if some_repeat or not all(map(_is_number, counts)):
        return ()
    return (
        f"{alone} of {len(counts)} labels are numbers that one image has: to learn numbers, name "
        "the task (--task regression), or call the column 'target'",
    )


def _taken(columns: Columns) -> str:
    """What columns were taken for of which nothing says it, where they turn out to be no such."""
    if not columns.guessed and (columns.task != "multi-label" or columns.joined):
        return ""
    few = some(columns.labels)
    were = f"column {few} was" if len(columns.labels) == 1 else f"columns {few} were"
    taken, numbers = f"the {were} taken for labels of 0 and 1", "--task regression"
    if not columns.guessed:
        return f"{taken}: {numbers} takes them for numbers"
    return (
        f"{taken}, as no column is called 'label', 'labels' or 'target': --label-column NAME says "
        f"which one has the class, or with {numbers} which have numbers"
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _classes(columns: Columns, rows: Sequence[Row]) -> tuple[str, ...]:
    labels = [row.label for row in rows if row.label is not None]
    if columns.task == "classification" and len(columns.labels) == 1:
        return natural_sort(map(str, labels))
    if columns.joined:
        return natural_sort(str(name) for label in labels for name in label)
    return columns.labels
