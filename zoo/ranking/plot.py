"""The picture of a ranking: what networks reach against what they cost."""

from __future__ import annotations

from matplotlib import rc_context
from matplotlib.figure import Figure

from zoo.finetune.results.pictures import drawable
from zoo.ranking.ranked import Ranking

__all__ = ["draw"]

NAMED = 25
"""Most networks whose names fit beside their points."""


def draw(ranking: Ranking) -> Figure:
    """Scores with their intervals against milliseconds; finalists are filled, and have a cross
    where short runs have come to.
    """
    shown = [(each, each.measured) for each in ranking.networks if each.measured]
    names, fonts = drawable([each.name for each, _ in shown[:NAMED]])
    with rc_context({"font.family": fonts}):
        figure = Figure(figsize=(9, 6), layout="constrained")
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
            )
            if each.outcomes:
                axes.plot(measured.ms, each.outcomes[0].score, "x", color=color)
            if at < len(names):
                axes.annotate(
                    f"{at + 1} {names[at]}",
                    (measured.ms, score),
                    xytext=(6, 4),
                    textcoords="offset points",
                    fontsize=8,
                )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.set_xlabel("milliseconds for one image")
        axes.set_ylabel(f"{ranking.measure} of a probe on all depths, out of fold")
        axes.set_title(
            "filled: finalists; x: after short runs; gray: seen to be behind the best", fontsize=9
        )
    return figure
