"""A table of predictions, as a file: CSV, or Parquet."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.backbones.predict import Prediction
from zoo.domain.csv_text import safe_cell
from zoo.domain.digest import Digest
from zoo.domain.result import Result
from zoo.errors import Conflict, InvalidOption, MissingPackage
from zoo.store.atomic import write_whole

__all__ = ["Written", "check_out", "write_predictions"]

SUFFIXES = (".csv", ".parquet")
Cells = Mapping[str, str | float]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Written(Result):
    """A file of predictions.

    Attributes:
        path: Where it is.
        manifest: The checkpoint that made them.
        images: How many rows it has.
    """

    path: Path
    manifest: Digest
    images: int


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


def write_predictions(predictions: Iterable[Prediction], out: Path) -> int:
    """Write a row for each prediction, as they come; how many there were.

    Columns are ``path``, and ``class_1``, ``probability_1``, …, the likeliest first; of numbers
    that were learned, their names. Where it is known, ``unlike`` and ``distance`` say whether an
    image is unlike the training images; where it may be, ``abstained`` that there is no answer.
    """
    rows, count = map(_row, predictions), 0

    def counted() -> Iterator[Cells]:
        nonlocal count
        for count, row in enumerate(rows, 1):  # noqa: B007 - the last one is the number
            yield row

    write_whole(out, (_as_parquet if out.suffix.lower() == ".parquet" else _as_csv)(counted()))
    return count


def _row(prediction: Prediction) -> Cells:
    row: dict[str, str | float] = {"path": prediction.image}
    if not prediction.probabilities:
        numbers = dict(zip(prediction.classes, prediction.logits, strict=True))
        return {**row, **_trust(prediction), **numbers}
    pairs = zip(prediction.classes, prediction.probabilities, strict=True)
    for at, (name, share) in enumerate(pairs, 1):
        row |= {f"class_{at}": name, f"probability_{at}": round(share, 6)}
    return {**row, **_trust(prediction)}


def _trust(prediction: Prediction) -> Cells:
    """What is known of how far it can be trusted: the same for all predictions of a network."""
    cells: dict[str, str | float] = {}
    if prediction.abstained is not None:
        cells["abstained"] = "yes" if prediction.abstained else "no"
    if prediction.distance is not None:
        unlike = "yes" if prediction.unlike else "no"
        cells |= {"unlike": unlike, "distance": round(prediction.distance, 4)}
    return cells


def _as_csv(rows: Iterator[Cells]) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    for at, row in enumerate(rows):
        if not at:
            lines.writerow(map(safe_cell, row))
        lines.writerow(map(safe_cell, row.values()))
        yield text.getvalue().encode("utf-8", "surrogateescape")  # names of files need not be UTF-8
        text.seek(0)
        text.truncate()


def _as_parquet(rows: Iterator[Cells]) -> Iterator[bytes]:
    pyarrow, parquet = _parquet()
    # It takes UTF-8 only.
    plain = [
        {**row, "path": str(row["path"]).encode("utf-8", "backslashreplace").decode()}
        for row in rows
    ]
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(plain), file)
    yield file.getvalue()


def _parquet() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingPackage(
            "pyarrow, which writes Parquet,", "pip install 'zoo-registry[parquet]'"
        ) from error
