"""The picture of a ranking: what networks reach against what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from zoo.domain.words import shortened
from zoo.finetune.results.pictures import drawable
from zoo.ranking.measured import FeatureScores
from zoo.ranking.ranked import Ranked, Ranking

__all__ = ["draw"]

NAMED = 25
"""Most networks whose names fit beside the axes."""
LETTERS = 48
"""Of a name there, so that the axes keep most of the picture."""


COSTS: Mapping[str, Callable[[Ranked, FeatureScores], float | None]] = {
    "milliseconds for one image": lambda _, measured: measured.ms,
    "MB": lambda each, _: each.bytes / 1e6 if each.bytes else None,
    "GMACs for one image": lambda _, measured: measured.gmacs,
}
"""What is beside scores, by what it is called; None or 0 where that is not known."""


def draw(ranking: Ranking) -> Figure:
    """Scores with their intervals against milliseconds, size and multiply-accumulates; finalists
    are filled, and have a cross where short runs have come to. Points have numbers, and names are
    beside the panels: there a long one covers nothing.
    """
    shown = [(each, each.measured) for each in ranking.networks if each.measured]
    names, fonts = drawable([shortened(each.name, LETTERS) for each, _ in shown[:NAMED]])
    labels = [f"{at} {name}" for at, name in enumerate(names, 1)]
    with rc_context({"font.family": fonts}):
        figure = Figure(figsize=(17, 6), layout="constrained")
        panels = figure.subplots(1, len(COSTS), sharey=True)
        for axes, (name, cost_of) in zip(panels, COSTS.items(), strict=True):
            for at, (each, measured) in enumerate(shown):
                if cost := cost_of(each, measured):
                    _point(axes, at, cost, each, measured)
            _cost(axes, name)
        panels[0].set_ylabel(f"{ranking.measure} of a probe on all depths, out of fold")
        figure.suptitle(
            "filled: finalists; x: after short runs; gray: seen to be behind the best", fontsize=9
        )
        # Of the first panel: milliseconds are known of each.
        points = [each[0] for each in panels[0].containers[: len(labels)]]
        figure.legend(points, labels, loc="outside right upper", fontsize=8)
    return figure


def _point(axes: Axes, at: int, cost: float, each: Ranked, measured: FeatureScores) -> None:
    score, color = measured.score, "C7" if each.behind else "C0"
    axes.errorbar(
        cost,
        score,
        yerr=[[max(score - measured.low, 0)], [max(measured.high - score, 0)]],
        fmt="o",
        color=color,
        capsize=3,
        markerfacecolor=color if each.finalist else "white",
    )
    if each.outcomes:
        axes.plot(cost, each.outcomes[0].score, "x", color=color)
    if at < NAMED:
        axes.annotate(
            f"{at + 1}", (cost, score), xytext=(6, 4), textcoords="offset points", fontsize=8
        )


def _cost(axes: Axes, name: str) -> None:
    """The axis of what networks cost."""
    axes.margins(0.08)  # room for the number of a point at the edge
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    least, most = axes.get_xlim()
    if most > 4 * least:  # else all are needed; of a wider range they run into each other
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5) if most < 100 * least else ()))
    axes.set_xlabel(name)
