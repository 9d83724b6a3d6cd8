"""Run files: what the results of a run hold, as far as others may read it: no names of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from zoo.domain.calibration import BINS, Bin
from zoo.domain.limits import MIB
from zoo.domain.matrix import Matrix
from zoo.lookup.examples import EXAMPLES, SHEET, Examples
from zoo.lookup.runs import REPORT

__all__ = [
    "DEPTH",
    "MATRIX",
    "PLAIN",
    "SIZES",
    "ByClass",
    "Confusion",
    "Depth",
    "Depths",
    "RunReport",
]

Bins = Annotated[tuple[Bin, ...], Meta(max_length=BINS)]
MATRIX, DEPTH = "confusion.json", "depth.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ByClass:
    """Figures of one class, label or column on the test images."""

    name: str
    images: int
    figures: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Images of a class that were taken for another."""

    true: str
    predicted: str
    images: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What the test images show."""

    images: int = 0
    groups: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    classes: tuple[ByClass, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    bins: Bins = ()
    raw_bins: Bins = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """A probe at one unit: its score on images that were held out, and the error of that."""

    unit: str
    features: int
    score: float
    error: float
    knn: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Depths:
    """Probes at all units, and the unit that was taken."""

    chosen: str
    points: tuple[Depth, ...]


PLAIN: Mapping[str, type] = {REPORT: RunReport, MATRIX: Matrix, DEPTH: Depths, EXAMPLES: Examples}
"""What each file of JSON holds."""
SIZES: Mapping[str, int] = {
    REPORT: 16 * MIB,
    MATRIX: MIB,
    DEPTH: MIB,
    EXAMPLES: MIB // 4,
    SHEET: 4 * MIB,
}
"""Bytes of each that are read at most: a matrix of more classes than are drawn has more."""
