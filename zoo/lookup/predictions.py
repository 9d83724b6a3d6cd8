"""Predictions: what a run's network said of each of its test images, and whether two of them differ
in that.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from zoo.domain.paired import Paired, mcnemar
from zoo.errors import ZooError
from zoo.lookup.runs import PREDICTIONS, Run
from zoo.store.regular import open_regular

__all__ = ["Predicted", "paired_test", "predictions"]


class Predicted(NamedTuple):
    """The class of an image, and what it was taken for."""

    label: str
    predicted: str


def predictions(folder: Path) -> Mapping[str, Predicted]:
    """Of each test image of the run in ``folder``, its class and the one that was predicted; cells
    are as CSV has them (`zoo.domain.csv_text.safe_cell`). Nothing where that is not kept, as of
    labels and numbers, or damaged.
    """
    try:
        with open_regular(folder / PREDICTIONS, PREDICTIONS) as file:
            rows = csv.DictReader(io.TextIOWrapper(file, "utf-8", "surrogateescape"))
            return {row["path"]: Predicted(row["label"], row["predicted"]) for row in rows}
    except (OSError, ValueError, LookupError, csv.Error, ZooError):
        return {}


def paired_test(one: Run, other: Run) -> Paired | None:
    """How two runs differ over the test images of both, by what is kept of them; None where that
    does not tell: they were tested on other images, images belong together, or nothing is kept.
    """
    tested = [run.provenance.get("test_digest") for run in (one, other)]
    if not tested[0] or tested[0] != tested[1]:
        return None
    if any((run.report() or {"groups": 0}).get("groups") is not None for run in (one, other)):
        return None  # which images are one group is not kept
    first, second = predictions(one.folder), predictions(other.folder)
    if not first or first.keys() != second.keys():
        return None
    right = [(_is_right(row), _is_right(second[key])) for key, row in first.items()]
    better, worse = right.count((True, False)), right.count((False, True))
    return Paired(
        images=len(right), better=better, worse=worse, test="mcnemar", p=mcnemar(better, worse)
    )


def _is_right(row: Predicted) -> bool:
    return row.label == row.predicted
