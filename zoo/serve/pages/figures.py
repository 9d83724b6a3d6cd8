"""Figures: what was measured of a checkpoint, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from zoo.domain.manifest import Manifest
from zoo.domain.task import SCORE, is_count, task_of
from zoo.serve.pages.svg import interval

__all__ = ["Figure", "figures", "score"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure, with its interval where that is known."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def is_share(self) -> bool:
        """Whether it is one of those with an interval that lie between 0 and 1."""
        ends = (self.value, self.low, self.high)
        return all(each is not None and 0 <= each <= 1 for each in ends)

    @property
    def text(self) -> str:
        """It in figures."""
        return "-" if self.value is None else f"{self.value:.{0 if is_count(self.name) else 4}f}"

    @property
    def ends(self) -> str:
        """Its interval in figures; empty if there is none."""
        known = self.low is not None and self.high is not None
        return f"{self.low:.3f} to {self.high:.3f}" if known else ""

    @property
    def drawn(self) -> Markup:
        """It as a dot with its interval, where it is a share."""
        if not self.is_share:
            return Markup()
        assert self.value is not None
        return interval(self.value, self.low, self.high, f"{self.name} {self.text}, {self.ends}")


def figures(metrics: Mapping[str, float | None], first: str) -> tuple[Figure, ...]:
    """Figures with their intervals, as `zoo.domain.task.with_intervals` tells them apart; ``first``
    comes first.
    """
    figures = [
        Figure(
            name=name,
            value=value,
            low=metrics.get(f"{name}_low"),
            high=metrics.get(f"{name}_high"),
        )
        for name, value in metrics.items()
        if not (name.rpartition("_")[0] in metrics and name.endswith(("_low", "_high")))
    ]
    return tuple(sorted(figures, key=lambda figure: (figure.name != first, figure.low is None)))


def score(manifest: Manifest) -> Figure | None:
    """The figure by which the better of two is told; None if it was not measured."""
    first = SCORE[task_of(manifest)]
    return next((each for each in figures(manifest.metrics, first) if each.name == first), None)
