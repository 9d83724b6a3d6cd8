"""The picture of a ranking is drawn whatever networks are called, and no label leaves its place."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from itertools import pairwise

import pytest
from fakes.measured import MEASURED
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from zoo.ranking.outcome import Outcome
from zoo.ranking.plot import NAMED, draw
from zoo.ranking.prior import Prior
from zoo.ranking.ranked import Ranked, Ranking


@pytest.mark.long
def test_each_network_is_drawn_and_the_first_are_named() -> None:
    tried = Outcome(
        name="everything", kind="training", options={}, score=0.9, low=0.8, high=1.0, images=40,
        scores=(),
    )  # fmt: skip
    one = Ranked(
        name=f"far/$x_{{1}}$ \u82b1{200 * 'm'}", manifest=None, state="measured", params=1,
        bytes=4_000_000, measured=MEASURED,
        prior=Prior(kind="size", value=1, data_sets=0), finalist=True, outcomes=(tried,),
    )  # fmt: skip
    missing = replace(one, name="team/none", state="not here", measured=None)
    without = replace(one, outcomes=())
    others = [
        replace(
            without,
            name=f"team/{at}",
            behind=True,
            bytes=10**6 * (at + 5),
            measured=replace(MEASURED, ms=4.0 + at**2, gmacs=0.2 + at if at else None),
        )
        for at in range(NAMED)
    ]
    ranking = Ranking(
        data="x", data_digest="", split_digest="", task="classification", measure="accuracy",
        images=40, chance=0.5, without=(), skipped=(), prior="size",
        networks=(one, *others, missing), winner=one.name, left_out={}, ended="", seconds=1.0,
    )  # fmt: skip
    figure = draw(ranking)
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "milliseconds for one image", "MB", "GMACs for one image",
    ]  # fmt: skip
    numbers = [f"{at + 1}" for at in range(NAMED)]
    for axes, first, shown in zip(
        figure.axes, (3, 4, 0.1), (numbers, numbers, numbers[:1] + numbers[2:]), strict=True
    ):
        # Of one network the multiply-accumulates are not known.
        assert len(axes.containers) == len(shown) + 1
        assert axes.containers[0][0].get_xdata()[0] == first
        assert [line.get_marker() for line in axes.lines].count("x") == 1
        assert [text.get_text() for text in axes.texts] == shown
    (legend,) = figure.legends
    named = [text.get_text() for text in legend.texts]
    assert (len(named), named[0][:6], named[1]) == (NAMED, "1 far/", "2 team/0")
    figure.savefig(picture := BytesIO())
    for axes in figure.axes:
        no_label_leaves_its_place(figure, axes)
    assert Image.open(picture).width > 100


def no_label_leaves_its_place(figure: Figure, axes: Axes) -> None:
    (legend,) = figure.legends
    inside, beside = axes.get_window_extent(), legend.get_window_extent()
    ticks = [*axes.xaxis.get_ticklabels(which="both")]
    boxes = sorted(
        (tick.get_window_extent().extents for tick in ticks if tick.get_text()),
        key=lambda box: box[0],
    )
    assert all(one[2] < other[0] for one, other in pairwise(boxes))
    assert inside.width > 0.18 * figure.bbox.width
    for text in axes.texts:
        box = text.get_window_extent()
        assert inside.containsx(box.x0)
        assert inside.containsx(box.x1)
        assert inside.containsy(box.y0)
        assert inside.containsy(box.y1)
    assert not beside.overlaps(inside)
    assert figure.bbox.x0 <= beside.x0 < beside.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= beside.y0 < beside.y1 <= figure.bbox.y1
