"""Tables in Parquet files: what their columns are called, and the cells of those that are used.

A cell of image bytes is ``FILE/ROW``, rows being counted from 0 (`zoo.finetune.dataset.packed` has
the bytes); a class that is a number is as the file's own features name it. A small file may stand
for any size: cells may be one value of a dictionary, or nothing. So rows and bytes are counted.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from zoo.domain.bounded import parse
from zoo.domain.hierarchy import under
from zoo.domain.limits import (
    CLASSES,
    PACKED_TIMES,
    TABLE_BATCH,
    TABLE_BYTES,
    TABLE_ROWS,
    TABLE_TIMES,
)
from zoo.errors import InvalidData, MissingPackage

__all__ = ["Cells", "is_packed", "open_parquet"]

BYTES = re.compile(r"(large_)?binary(_view)?|fixed_size_binary\[\d+\]")
"""Types of columns that hold files, or other bytes; or of ``bytes`` in a struct."""

Cells = dict[str, str | None]


def open_parquet(path: Path) -> tuple[list[str], int, Callable[[Collection[str]], list[Cells]]]:
    """What the columns are called, how many rows there are, and what reads the cells of columns.

    Raises:
        InvalidData: It is no table, or larger than the limits.
        MissingPackage: What reads Parquet is not installed.
    """
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingPackage(
            "pyarrow, which reads Parquet,", "pip install 'zoo-registry[parquet]'"
        ) from error
    with _opened(path) as file:
        names: list[str] = file.schema_arrow.names
        groups = (file.metadata.row_group(at) for at in range(file.metadata.num_row_groups))
        rows = max(file.metadata.num_rows, sum(group.num_rows for group in groups))
    most = max(TABLE_ROWS, TABLE_TIMES * path.stat().st_size)
    if rows > most:
        raise InvalidData(path, [f"it has {rows:,} rows; one of its size may have {most:,}"])
    return names, rows, partial(_rows, path, rows)


def is_packed(path: Path, column: str) -> bool:
    """Whether the column of a table that was opened holds images, not paths."""
    if path.suffix.lower() != ".parquet":
        return False
    with _opened(path) as file:
        return _holds_bytes(file.schema_arrow.field(column).type)


@contextmanager
def _opened(path: Path, dictionaries: Sequence[str] = ()) -> Iterator[Any]:
    arrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    try:
        # In pieces, where Arrow would hold a group of rows whole.
        with parquet.ParquetFile(
            path, read_dictionary=dictionaries, buffer_size=1 << 20, pre_buffer=False
        ) as file:
            yield file
    except (OSError, ValueError, ArithmeticError, arrow.ArrowException) as error:
        raise InvalidData(path, [f"the table cannot be read: {error}"]) from error


def _rows(path: Path, count: int, used: Collection[str]) -> list[Cells]:
    """The cells of the columns that are ``used``."""
    with _opened(path) as file:
        schema = file.schema_arrow
        packed = [name for name in used if _holds_bytes(schema.field(name).type)]
        plain = [name for name in used if name not in packed]
        for name in plain:
            if not _is_plain(schema.field(name).type):
                what = str(schema.field(name).type)[:100]
                raise InvalidData(path, [f"'{name}' holds neither text nor images, but {what}"])
        classes = _classes(path, (schema.metadata or {}).get(b"huggingface", b""), plain)
        # Their values are in memory once, and not for each row.
        texts = [
            column.path
            for column in map(file.schema.column, range(len(file.schema)))
            if under(column.path, plain) and column.logical_type.type == "STRING"
        ]
    rows: list[Cells] = []
    with _opened(path, texts) as file:
        for values in _values(path, file, plain) if plain else [{}] * count:
            cells = {name: _text(values[name], classes.get(name, ())) for name in plain}
            rows.append(cells | dict.fromkeys(packed, f"{path.name}/{len(rows)}"))
    return rows


def _values(path: Path, file: Any, names: list[str]) -> Iterator[dict[str, object]]:
    most = max(TABLE_BYTES, PACKED_TIMES * path.stat().st_size)
    if _promised(file, names) > most:
        raise _too_large(path, most)
    left = most
    for batch in file.iter_batches(TABLE_BATCH, columns=names, use_threads=False):
        left -= sum(map(_size, batch.columns))
        if left < 0:
            raise _too_large(path, most)
        # Others may be there, too, whose names begin alike. Dictionaries are slow cell by cell.
        columns = (batch.column(name) for name in names)
        dense = (c.dictionary_decode() if hasattr(c, "dictionary") else c for c in columns)
        for cells in zip(*(column.to_pylist() for column in dense), strict=True):
            yield dict(zip(names, cells, strict=True))


def _promised(file: Any, names: list[str]) -> int:
    """Bytes that the pages of columns take, and each cell of lists, by what the file says."""
    about = file.metadata
    chunks = (
        about.row_group(group).column(at)
        for group in range(about.num_row_groups)
        for at in range(about.num_columns)
    )
    return sum(
        max(chunk.total_uncompressed_size, chunk.num_values, 0)
        for chunk in chunks
        if under(chunk.path_in_schema, names)
    )


def _size(column: Any) -> int:
    """Bytes of all cells of a column, those included that are the same."""
    compute = importlib.import_module("pyarrow.compute")
    while _is_list(column.type):
        column = column.flatten()
    if not hasattr(column, "dictionary"):
        return int(column.nbytes)
    values = column.dictionary
    if not str(values.type).endswith(("string", "string_view")):
        return int(column.nbytes)
    lengths = compute.binary_length(values).take(column.indices)
    return int(column.indices.nbytes) + (compute.sum(lengths).as_py() or 0)


def _too_large(path: Path, most: int) -> InvalidData:
    reason = f"what is used of the table takes more than {most:,} bytes"
    return InvalidData(path, [f"{reason}, too much for a file of its size"])


def _holds_bytes(kind: Any) -> bool:
    if importlib.import_module("pyarrow").types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and bool(BYTES.fullmatch(str(kind.field(at).type)))
    return bool(BYTES.fullmatch(str(kind)))


def _is_plain(kind: Any) -> bool:
    types = importlib.import_module("pyarrow").types
    while _is_list(kind) or types.is_dictionary(kind):
        kind = kind.value_type
    return not types.is_nested(kind) and not BYTES.fullmatch(str(kind))


def _is_list(kind: Any) -> bool:
    types = importlib.import_module("pyarrow").types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _classes(path: Path, features: bytes, used: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The names of classes by column, of what the ``datasets`` package writes into a file."""
    classes = {}
    try:
        read = parse(features, values=2 * CLASSES, deepest=64) if features else {}
        for name, feature in read["info"]["features"].items() if features else ():
            while "feature" in feature:  # lists of them
                feature = feature["feature"]
            names = feature.get("names")
            if isinstance(names, list) and all(
                isinstance(each, str) and each.strip() for each in names
            ):
                classes[name] = tuple(each.strip() for each in names)
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # whatever another program calls so
    for name in used:
        names = classes.get(name, ())
        if len(set(names)) < len(names):
            twice = next(each for at, each in enumerate(names) if each in names[:at])
            raise InvalidData(path, [f"two classes of the column '{name}' are called '{twice}'"])
    return classes


def _text(value: object, classes: Sequence[str]) -> str | None:
    if isinstance(value, list):
        return "|".join(_text(each, classes) or "" for each in value)
    if classes and isinstance(value, int):
        # Hidden labels are published as -1.
        return classes[value] if 0 <= value < len(classes) else None
    # A column of whole numbers with a gap in it is one of floats to many programs.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value is None else str(value)
