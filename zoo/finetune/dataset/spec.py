"""What a user types for data, told apart by its form alone: without torch, before it is opened."""

from __future__ import annotations

from dataclasses import dataclass, fields
from glob import has_magic
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl

from zoo.backbones.image_files import SUFFIXES, image_files, not_own
from zoo.domain.recipe import Recipe
from zoo.domain.task import Task
from zoo.errors import InvalidData, InvalidOption

__all__ = [
    "AS_IT_IS",
    "LAYOUT",
    "TABLES",
    "DatasetSpec",
    "DatasetOptions",
    "check_spec",
    "is_named",
    "is_unlabeled",
    "opening_of",
    "parse_named",
    "tables_in",
]

TABLES = frozenset({".csv", ".tsv", ".parquet"})
LAYOUT = (
    "put the images of each class in a folder of its own (DATA/daisy/1.jpg, DATA/rose/2.jpg),\n"
    "or list them in a table (a CSV with the columns path and label) and give that: DATA.csv"
)
"""What to do where there are no class folders."""

SPLITS = ("train", "validation", "test")
OPTIONS = {
    "torch": ("root", *SPLITS, "download"),
    "hfds": ("root", *SPLITS, "image", "label"),
    "wds": ("root", *SPLITS, "image", "label"),
}
STREAMS = {
    "hfids": "a stream has no order to draw from; hfds/… opens the same datasets",
    "tfds": "it can only be read from end to end; write it to class folders or a table",
}


class DatasetSpec(NamedTuple):
    """A spec in its parts."""

    spec: str
    kind: str  # what opens it: torch, hfds or wds
    name: str
    options: dict[str, str]  # see the table above

    @property
    def splits(self) -> dict[str, str]:
        """What the dataset calls our splits, as far as the user said so."""
        return {part: self.options[part] for part in SPLITS if part in self.options}


def is_named(spec: str) -> bool:
    """Whether the spec has a prefix of named datasets; ``./wds/x`` is a folder."""
    prefix, slash, _ = spec.partition("/")
    return bool(slash) and prefix.lower() in {*OPTIONS, *STREAMS}


def parse_named(spec: str) -> DatasetSpec:
    """The parts of a named dataset.

    Raises:
        InvalidData: It is a stream, or has an option that there is not.
    """
    address, _, query = spec.partition("?")
    kind, _, name = address.partition("/")
    kind = kind.lower()
    if kind in STREAMS:
        raise InvalidData(spec, [STREAMS[kind]])
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(options.keys() - set(OPTIONS[kind]))
    if unknown or not name:
        known = ", ".join(OPTIONS[kind])
        problems = [f"{kind} has no option '{option}'; it has: {known}" for option in unknown]
        raise InvalidData(spec, problems or [f"which dataset? {kind}/NAME"])
    return DatasetSpec(spec, kind, name, options)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOptions:
    """What a user says of the data beside where it is; see `zoo.domain.recipe.Recipe`."""

    path_column: str = ""
    label_column: str = ""
    root: str = ""
    max_pixels: int | None = None

    @property
    def of_tables(self) -> list[str]:
        """The options that are given and mean nothing but for a table."""
        return [name for name in ("path_column", "label_column", "root") if getattr(self, name)]


AS_IT_IS = DatasetOptions()


def opening_of(recipe: Recipe) -> DatasetOptions:
    """How the data of ``recipe`` is opened."""
    return DatasetOptions(
        **{field.name: getattr(recipe, field.name) for field in fields(DatasetOptions)}
    )


def is_unlabeled(spec: str) -> bool:
    """Whether ``spec`` names images alone: a folder of them in which there is no folder, one of
    them, or a pattern (``photos/*.jpg``).
    """
    path = Path(spec).expanduser()
    if is_named(spec):
        return False
    if path.is_dir():
        inner = not_own(path, [each.name for each in path.iterdir() if each.is_dir()])
        return not inner and any(image_files(path))
    return path.suffix.lower() in SUFFIXES or (has_magic(spec) and not path.exists())


def tables_in(path: Path) -> tuple[Path, ...]:
    """A table alone; or the Parquet files of a folder of these, as data sets of the hub have them,
    or of the folder ``data`` in it. Empty where there are none, or images lie beside them: a table
    of predictions may have been written there.
    """
    if path.is_file():
        return (path,) if path.suffix.lower() in TABLES else ()
    if not path.is_dir():
        return ()
    inner = [each for each in path.iterdir() if each.is_dir() and not each.name.startswith(".")]
    if [each.name for each in inner] == ["data"]:
        path = inner[0]
    elif inner:
        return ()
    files = [each for each in path.iterdir() if each.is_file() and not each.name.startswith(".")]
    if any(each.suffix.lower() in SUFFIXES for each in files):
        return ()
    return tuple(sorted(each for each in files if each.suffix == ".parquet"))


def check_spec(spec: str, opening: DatasetOptions, task: Task | None) -> bool:
    """See that there is what ``spec`` names, and that the options fit; whether it is a table.

    Raises:
        InvalidData: There is nothing, or no data for that task.
        InvalidOption: An option is for tables, and it is none.
    """
    path, named = Path(spec).expanduser(), is_named(spec)
    is_table = path.suffix.lower() in TABLES and not path.is_dir() and not named
    is_table = is_table or (not named and bool(tables_in(path)))
    if not is_table and (given := opening.of_tables):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InvalidOption(f"{options}: that is for tables (.csv, .tsv, .parquet), not for {spec}")
    if named:
        parse_named(spec)
    elif path.is_dir() and not is_table:
        if task not in (None, "classification"):
            raise InvalidData(spec, [f"class folders are for classification, not for {task}"])
        if not any(path.iterdir()):  # torch takes seconds to import
            raise InvalidData(
                spec, ["no class folders: it holds neither folders nor images"], hint=LAYOUT
            )
    elif is_table and not path.exists():
        raise InvalidData(spec, ["no such file"])
    elif not path.exists():
        raise InvalidData(spec, ["no such folder, table or named dataset"], hint=LAYOUT)
    elif not is_table:
        raise InvalidData(spec, ["is a file, but no table (.csv, .tsv or .parquet)"], hint=LAYOUT)
    return is_table
