"""The picture of a ranking is drawn whatever networks are called."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

from fakes.measured import MEASURED
from PIL import Image

from zoo.ranking.outcome import Outcome
from zoo.ranking.plot import NAMED, draw
from zoo.ranking.prior import Prior
from zoo.ranking.ranked import Ranked, Ranking


def test_each_network_is_drawn_and_the_first_are_named() -> None:
    tried = Outcome(
        name="everything", kind="training", options={}, score=0.9, low=0.8, high=1.0, images=40,
        scores=(),
    )  # fmt: skip
    one = Ranked(
        name="far/$x_{1}$ \u82b1", manifest=None, state="measured", params=1, measured=MEASURED,
        prior=Prior(kind="size", value=1, data_sets=0), finalist=True, outcomes=(tried,),
    )  # fmt: skip
    missing = replace(one, name="team/none", state="not here", measured=None)
    without = replace(one, outcomes=())
    others = [
        replace(without, name=f"team/{at}", behind=True, measured=replace(MEASURED, ms=4.0 + at))
        for at in range(NAMED)
    ]
    ranking = Ranking(
        data="x", data_digest="", split_digest="", task="classification", measure="accuracy",
        images=40, chance=0.5, without=(), prior="size", networks=(one, *others, missing),
        winner=one.name, left_out={}, ended="", seconds=1.0,
    )  # fmt: skip
    figure = draw(ranking)
    (axes,) = figure.axes
    assert len(axes.containers) == NAMED + 1
    assert [line.get_marker() for line in axes.lines].count("x") == 1
    assert len(axes.texts) == NAMED
    assert axes.texts[0].get_text().startswith("1 far/")
    figure.savefig(picture := BytesIO())
    assert Image.open(picture).width > 100
