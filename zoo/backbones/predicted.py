"""A table of predictions, as a file: CSV, or Parquet."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias

from blake3 import blake3

from zoo.domain.csv_text import safe_cell, write_rows
from zoo.domain.digest import Digest
from zoo.domain.result import Result
from zoo.errors import Conflict, InvalidOption, MissingPackage
from zoo.store.atomic import write_whole
from zoo.store.rows import Row

__all__ = ["Columns", "PredictionsFile", "check_out", "write_table"]

SUFFIXES = (".csv", ".parquet")
Columns: TypeAlias = Sequence[tuple[str, type[str] | type[float]]]
"""Their names, and what is in them."""
ROWS = 10_000
"""Of a piece that is written at once."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PredictionsFile(Result):
    """A file of predictions.

    Attributes:
        path: Where it is.
        manifest: The checkpoint that made them.
        images: How many rows it has.
        unreadable: How many of these have a problem in place of a prediction.
        calibrated: Whether probabilities are by the temperature that the checkpoint keeps.
        already: Whether the file was there, complete, and nothing was done.
    """

    path: Path
    manifest: Digest
    images: int
    unreadable: int
    calibrated: bool
    already: bool = False


def check_out(out: Path, *, force: bool) -> None:
    """See that ``out`` can be written, before hours of predicting.

    Raises:
        InvalidOption: It is called neither ``.csv`` nor ``.parquet``, or its folder is not there.
        Conflict: It exists, and ``force`` is off.
        MissingPackage: What writes Parquet is not installed.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise InvalidOption(f"{out} is called neither .csv nor .parquet")
    if not out.parent.is_dir():
        raise InvalidOption(f"{out}: there is no folder {out.parent}")
    if out.is_dir() or (out.exists() and not force):
        raise Conflict(f"{out} {'is a folder' if out.is_dir() else 'exists; --force replaces it'}")
    if out.suffix.lower() == ".parquet":
        _parquet()


def write_table(
    out: Path, columns: Columns, rows: Iterable[Row], whole: Callable[[str], None]
) -> None:
    """Write rows with these columns; before ``out`` is there, ``whole`` learns BLAKE3 of its bytes.

    Raises:
        DiskFull: There is no space; ``out`` is as it was.
    """
    as_it_is = _as_parquet if out.suffix.lower() == ".parquet" else _as_csv
    write_whole(out, _digested(as_it_is(columns, rows), whole))


def _digested(pieces: Iterable[bytes], whole: Callable[[str], None]) -> Iterator[bytes]:
    hasher = blake3()
    for piece in pieces:
        hasher.update(piece)
        yield piece
    whole(hasher.hexdigest())


def _pieces(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    return iter(lambda: [*islice(left, ROWS)], [])


def _as_csv(columns: Columns, rows: Iterable[Row]) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    header = [name for name, _ in columns]
    for piece in _pieces(chain([header], rows)):
        write_rows(text, (map(safe_cell, row) for row in piece))
        yield text.getvalue().encode("utf-8", "surrogateescape")  # names of files need not be UTF-8
        text.seek(0)
        text.truncate()


def _as_parquet(columns: Columns, rows: Iterable[Row]) -> Iterator[bytes]:
    pyarrow, parquet = _parquet()
    kinds = {str: pyarrow.string(), float: pyarrow.float64()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns])
    sink = _Sink()
    with parquet.ParquetWriter(sink, schema) as writer:
        for piece in _pieces(rows):
            cells = zip(*(map(_plain, row) for row in piece), strict=True)
            arrays = [
                pyarrow.array(cell, each.type) for cell, each in zip(cells, schema, strict=True)
            ]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            yield sink.taken()
    yield sink.taken()


def _plain(cell: str | float | None) -> str | float | None:
    """A cell as Parquet takes it: in UTF-8, which names of files need not be."""
    return cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell


class _Sink(io.RawIOBase):
    """A file of which the bytes are taken as they come."""

    def __init__(self) -> None:
        self._pieces, self._at = list[bytes](), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        self._at += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        return self._at

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _parquet() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingPackage(
            "pyarrow, which writes Parquet,", "pip install 'zoo-registry[parquet]'"
        ) from error
