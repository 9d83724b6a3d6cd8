"""The picture of advice: what each depth knows, what more images bring, and what was tried."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from zoo.advice.depths import Depth
from zoo.advice.growth import Growth
from zoo.advice.layers import Layers
from zoo.advice.plan import AdvicePlan
from zoo.domain.words import shortened
from zoo.finetune.results.pictures import drawable

__all__ = ["draw_advice"]

SIZES = {"*": 14, "D": 7, "o": 7}
PANEL = 5.0
"""Inches of each panel."""
LEGEND, LETTERS = 3.0, 40
"""Inches for the names of what was tried, and the most letters of one."""


def draw_advice(layers: Layers, plan: AdvicePlan) -> Figure:
    """Depths, growth and trials beside each other, with their 95 % intervals."""
    names = [each.at for each in layers.depths.depths] + [each.name for each in plan.tried]
    shown, fonts = drawable([shortened(name, LETTERS) for name in names])
    with rc_context({"font.family": fonts}):
        panels = 3 if layers.growth else 2
        figure = Figure(figsize=(panels * PANEL + LEGEND, PANEL), layout="constrained")
        depths, *middle, trials = figure.subplots(1, panels, sharey=True)
        _depths(depths, layers.depths.depths, shown)
        if layers.growth:
            _growth(middle[0], layers.growth)
        _trials(trials, plan, shown[len(layers.depths.depths) :])
        # Beside the panels, where it covers no interval.
        figure.legend(*trials.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
        depths.set_ylabel(f"{layers.score} of images held out")
    return figure


def _depths(axes: Axes, depths: Sequence[Depth], names: Sequence[str]) -> None:
    for at, each in enumerate(depths):
        axes.plot([at, at], [each.low, each.high], color="C0")
    *single, together = depths
    axes.plot(range(len(single)), [each.score for each in single], "o-", color="C0")
    axes.plot(len(single), together.score, "D", color="C1")
    axes.set_xticks(range(len(depths)), list(names[: len(depths)]), rotation=90)
    axes.set_title("a probe at each depth")


def _growth(axes: Axes, growth: Growth) -> None:
    for each in growth.sizes:
        axes.plot([each.images] * 2, [each.low, each.high], color="C0")
    images = [each.images for each in growth.sizes]
    axes.plot(images, [each.score for each in growth.sizes], "o-", color="C0")
    last = growth.sizes[-1]
    more = images[-1] + growth.more
    axes.plot([more] * 2, [last.score + growth.low, last.score + growth.high], color="gray")
    axes.plot([images[-1], more], [last.score, last.score + growth.brings], "o:", color="gray")
    axes.set_xlabel("images that it is fitted on")
    axes.set_title(f"what more images bring (gray: {growth.more} more)")


def _trials(axes: Axes, plan: AdvicePlan, names: Sequence[str]) -> None:
    for at, (each, name) in enumerate(zip(plan.tried, names, strict=True)):
        seconds, color = max(each.seconds, 0.1), f"C{at}"  # the axis is logarithmic
        axes.plot([seconds] * 2, [each.low, each.high], color=color, alpha=0.5)
        marker = "*" if each.name == plan.advised else "D" if each.kind == "probe" else "o"
        axes.plot(seconds, each.score, marker, color=color, markersize=SIZES[marker], label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("seconds of the trial")
    axes.set_title("what was tried (star: advised; diamonds: probes)")
