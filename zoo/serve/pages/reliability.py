"""Reliability: how often a network is right where it is so sure, drawn."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from zoo.domain.calibration import Bin
from zoo.serve.pages.chart import Curve, Point, draw_curves

__all__ = ["draw_reliability"]


def draw_reliability(bins: Sequence[Bin], raw_bins: Sequence[Bin]) -> Markup:
    """The share that is right over the probability that was said, with the temperature and without
    it; nothing where nothing is known.
    """
    if not bins:
        return Markup()
    kinds = ("with the temperature", "without it") if raw_bins else ("measured", "")
    curves = [Curve("ideal", (Point(0, 0), Point(1, 1)))]
    for kind, some in zip(kinds, (bins, raw_bins), strict=True):
        if some:
            curves.append(Curve(kind, tuple(Point(one.confidence, one.right) for one in some)))
    return draw_curves(curves, "Share that is right", "probability that was said")
