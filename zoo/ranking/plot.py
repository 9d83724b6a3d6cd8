"""The picture of a ranking: what networks reach against what they cost."""

from __future__ import annotations

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from zoo.domain.words import shortened
from zoo.finetune.results.pictures import drawable
from zoo.ranking.ranked import Ranking

__all__ = ["draw"]

NAMED = 25
"""Most networks whose names fit beside the axes."""
LETTERS = 48
"""Of a name there, so that the axes keep most of the picture."""


def draw(ranking: Ranking) -> Figure:
    """Scores with their intervals against milliseconds; finalists are filled, and have a cross
    where short runs have come to. Points have numbers, and names are beside the axes: there a long
    one covers nothing.
    """
    shown = [(each, each.measured) for each in ranking.networks if each.measured]
    names, fonts = drawable([shortened(each.name, LETTERS) for each, _ in shown[:NAMED]])
    with rc_context({"font.family": fonts}):
        figure = Figure(figsize=(12, 6), layout="constrained")
        axes = figure.subplots()
        for at, (each, measured) in enumerate(shown):
            score = measured.score
            color = "C7" if each.behind else "C0"
            axes.errorbar(
                measured.ms,
                score,
                yerr=[[max(score - measured.low, 0)], [max(measured.high - score, 0)]],
                fmt="o",
                color=color,
                capsize=3,
                markerfacecolor=color if each.finalist else "white",
                label=f"{at + 1} {names[at]}" if at < len(names) else None,
            )
            if each.outcomes:
                axes.plot(measured.ms, each.outcomes[0].score, "x", color=color)
            if at < len(names):
                axes.annotate(
                    f"{at + 1}",
                    (measured.ms, score),
                    xytext=(6, 4),
                    textcoords="offset points",
                    fontsize=8,
                )
        _milliseconds(axes)
        axes.set_ylabel(f"{ranking.measure} of a probe on all depths, out of fold")
        axes.set_title(
            "filled: finalists; x: after short runs; gray: seen to be behind the best", fontsize=9
        )
        figure.legend(loc="outside right upper", fontsize=8)
    return figure


def _milliseconds(axes: Axes) -> None:
    axes.margins(0.08)  # room for the number of a point at the edge
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    least, most = axes.get_xlim()
    if most > 8 * least:  # else all are needed; of a wider range they run into each other
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.set_xlabel("milliseconds for one image")
