"""What is advised, of what was tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.advice.as_is import AsItIs
from zoo.advice.cost import Speed
from zoo.advice.depths import Depth, Depths, Gain
from zoo.advice.growth import Growth, Size
from zoo.advice.layers import Layers
from zoo.advice.pictures import draw_advice
from zoo.advice.plan import AdvicePlan, plan_of
from zoo.advice.race import Candidate, Race
from zoo.domain.recipe import Recipe
from zoo.finetune.trial import Trial

RECIPE = Recipe(data="x")
SPEED = Speed(0.01, (0.0, 0.5))


def depth(at: str, score: float) -> Depth:
    return Depth(at=at, features=4, score=score, low=score - 0.1, high=score + 0.1)


LAYERS = Layers(
    images=60,
    without=(),
    score="accuracy",
    depths=Depths(
        depths=(depth("one", 0.8), depth("head", 0.6), depth("all", 0.7)),
        best="one",
        best_single="one",
        preferred="one",
        cheapest="one",
        gain=Gain(at="one", over="head", score=0.2, low=0.1, high=0.3),
    ),
    growth=None,
)


def planned(
    *,
    whole: bool,
    untrained: AsItIs | None = None,
    layers: Layers = LAYERS,
    recipe: Recipe = RECIPE,
) -> AdvicePlan:
    """Of a race whose folds say that all depths are best, and in which no training was better."""
    right = {"one": 0.0, "head": 0.0, "all": 1.0}
    entry = SimpleNamespace(
        candidate=SimpleNamespace(name="everything", options={}),
        trials=[SimpleNamespace(epochs=9)],
        held_out=lambda: {"0": 0.0}, epochs=1, seconds=1.0, dropped="behind the best probe",
    )  # fmt: skip
    race: Any = SimpleNamespace(
        winner=lambda: None, whole=whole, probe=lambda: "all", entries=[entry], racing=[],
        probed={at: dict.fromkeys(map(str, range(20)), score) for at, score in right.items()},
        groups={}, epochs=9, stopped="", too_long=[],
        best_probe=lambda scores: ("all", scores), ahead=lambda *_: True, ties=False,
    )  # fmt: skip
    return advised_by(race, layers, untrained, recipe=recipe)


def advised_by(
    race: Race,
    layers: Layers = LAYERS,
    untrained: AsItIs | None = None,
    images: int = 60,
    recipe: Recipe = RECIPE,
) -> AdvicePlan:
    samples = [sample(at) for at in range(images)]
    dataset = SimpleNamespace(
        train=samples[10:], validation=samples[:10], test=[], classes=("a", "b"), alone=(),
        skipped=(),
    )  # fmt: skip
    units = tuple(SimpleNamespace(name=name, depth=at, params=9) for at, name in enumerate("xy"))
    prepared: Any = SimpleNamespace(
        base="team/net", task="classification", dataset=dataset,
        known=SimpleNamespace(backbone=SimpleNamespace(plugin="timm")),
        hierarchy=SimpleNamespace(units=units, params=18),
    )  # fmt: skip
    return plan_of(prepared, layers, SPEED, recipe, race, 60.0, untrained, save="advised/x")


FOLDS = ("1/3", "2/3", "3/3")
FROZEN = {"everything": 0, "upper half": 1, "above one": 2}
"""What is trained, by how much is frozen; of a probe it is all."""
Rights = dict[str, dict[str, list[bool]]]
"""Of each recipe and probe which images of each fold it is right of."""


@st.composite
def rights(draw: st.DrawFn) -> Rights:
    """Each begins with a probe of its own, and is as good after one epoch as after all."""
    many = draw(st.integers(2, 25))
    each = st.lists(st.booleans(), min_size=many, max_size=many)
    names = [*FROZEN, "begun", "one", "head", "all"]
    return {name: {fold: draw(each) for fold in FOLDS} for name in names}


def raced(right: Rights, times: int, layers: Layers = LAYERS, *, ties: bool = False) -> AdvicePlan:
    """What is advised where there are so many ``times`` the images, with the same gains."""

    def scores(name: str, fold: str) -> tuple[float, ...]:
        return tuple(map(float, right[name][fold] * times))

    def attempt(candidate: Candidate, fold: str, epochs: int) -> Trial:
        after = dict.fromkeys(range(1, epochs + 1), scores(candidate.name, fold))
        return Trial(
            folder=Path(candidate.name), of=9, scores=dict.fromkeys(range(epochs + 1), 0.0),
            images=tuple(f"{fold} {at}" for at in range(len(after[1]))),
            by_image={0: scores("begun", fold), **after}, trained=20,
            seconds={at: float(at) for at in range(epochs + 1)},
        )  # fmt: skip

    def probes(images: Sequence[str]) -> dict[str, tuple[float, ...]]:
        fold = images[0].split()[0]
        return {at: scores(at, fold) for at in ("one", "head", "all")}

    candidates = [Candidate(name=name, options={}, begin=0.0, epoch=1.0) for name in FROZEN]
    race = Race(candidates, FOLDS, attempt, probes, epochs=9, groups={}, budget=1e9, ties=ties)
    race.run()
    return advised_by(race, layers, images=60 * times)


@pytest.mark.long
@settings(deadline=None, max_examples=80)
@given(right=rights(), times=st.integers(2, 6))
def test_more_images_never_freeze_more(right: Rights, times: int) -> None:
    few, many = (FROZEN.get(raced(right, count).advised, 3) for count in (1, times))
    assert many <= few


def test_more_images_of_the_same_gain_end_the_freezing() -> None:
    """A gain that few images do not tell from chance is followed where there are more."""
    right = {
        name: {fold: [True] * 5 + [False] * 5 for fold in FOLDS} for name in [*FROZEN, "begun"]
    }
    right |= dict.fromkeys(("one", "head", "all"), right["begun"])
    better = [False] * 2 + [True] * 6 + [False] * 2
    right["everything"] = dict.fromkeys(FOLDS, better)
    assert raced(right, 1).advised == "probe at all"
    assert raced(right, 6).advised == "everything"


@pytest.mark.long
def test_the_legend_of_the_picture_covers_no_interval() -> None:
    """Nor a panel, whatever recipes are called; and it is in the picture."""
    growth = Growth(
        sizes=(Size(images=20, score=0.5, low=0.4, high=0.6),
               Size(images=40, score=0.6, low=0.5, high=0.7)),
        exponent=1.0, more=100, brings=0.1, low=0.0, high=0.2,
    )  # fmt: skip
    plan = planned(whole=True)
    tried = tuple(
        replace(plan.tried[0], name=f"{at} {'m' * 60}", low=0.0, high=1.0, seconds=4.0**at)
        for at in range(9)
    )
    figure = draw_advice(replace(LAYERS, growth=growth), replace(plan, tried=tried))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert len(legend.texts) == 9
    panels = [axes.get_tightbbox() for axes in figure.axes]
    assert not any(panel is None or box.overlaps(panel) for panel in panels)
    assert all(axes.get_legend() is None for axes in figure.axes)
    assert all(axes.get_window_extent().width > 250 for axes in figure.axes)
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1


def sample(at: int) -> Any:
    return SimpleNamespace(key=str(at))


@pytest.mark.parametrize(
    ("whole", "advised", "scores", "images"),
    [(True, "all", (0.0, 0.0, 1.0), 20), (False, "one", (0.8, 0.6, 0.7), 60)],
)
def test_between_probes_a_fold_alone_does_not_choose(
    whole: bool, advised: str, scores: tuple[float, ...], images: int
) -> None:
    """Where all trainings were dropped after the first, the depths' figures of all images do."""
    plan = planned(whole=whole)
    rows = {each.name: each for each in plan.tried}
    probes = [rows[f"probe at {at}"] for at in ("one", "head", "all")]
    assert plan.advised == f"probe at {advised}"
    assert tuple(each.score for each in probes) == scores
    assert {each.images for each in probes} == {images}
    assert ("0.800 out of fold on 60 images" in plan.why) is not whole
    does = "puts the head on several depths" if advised == "all" else "ends the network there"
    head = f"--at head ({rows['probe at head'].score:.3f}) keeps the whole network"
    assert plan.why.endswith(f". It {does}: zoo loads that, timm does not; {head}")
    smaller = [each for each in plan.changes if each.startswith("a need for a smaller network")]
    assert [each.partition(": ")[2][:12] for each in smaller] == ["probe at one"] * whole
    assert all(each.endswith(" is as good, as far as 60 images tell") for each in smaller)


@pytest.mark.parametrize(("right", "said"), [(54, True), (30, False)])
def test_a_base_that_has_the_classes_is_told_as_it_is(right: int, said: bool) -> None:
    """It is never advised: whether it has seen these images is not known."""
    scores = {str(at): float(at < right) for at in range(60)}
    plan = planned(whole=False, untrained=AsItIs(scores, 2.0))
    row = next(each for each in plan.tried if each.name == "as it is")
    assert (row.score, row.images, row.options) == (right / 60, 60, {})
    assert row.low < row.score < row.high
    assert plan.advised == "probe at one"
    assert ("team/net has these classes already" in plan.as_it_is) is said
    assert [each.score for each in plan.tried] == sorted(
        (each.score for each in plan.tried), reverse=True
    )


@pytest.mark.parametrize(
    ("brings", "high", "few", "said"),
    [(0.02, 0.03, True, "few images: 100 more would bring 0.020;"),
     (0.006, 0.067, True, "perhaps few images: 100 more would bring 0.006, or as much as 0.067;"),
     (0.006, 0.009, False, "enough images: 100 more would bring 0.006;")],
)  # fmt: skip
def test_images_are_enough_only_where_that_is_seen(
    brings: float, high: float, few: bool, said: str
) -> None:
    growth = Growth(sizes=(), exponent=0.5, more=100, brings=brings, low=0.0, high=high)
    plan = planned(whole=True, layers=replace(LAYERS, growth=growth))
    assert plan.scenario.few == few
    assert plan.scenario.text.startswith(said)
    assert any(change.startswith("more images") for change in plan.changes) == few


@pytest.mark.parametrize(
    ("right", "ties", "said"),
    [(20, True, "as good"), (12, True, ""), (20, False, ""), (30, True, "0.333 better")],
    ids=["as good", "worse", "few images", "better"],
)
def test_where_images_are_many_training_is_advised_if_it_is_as_good(
    right: int, ties: bool, said: str
) -> None:
    """And a longer one is proposed: of few images the probe was better than any."""
    of = {"everything": right, "one": 20, "begun": 5}
    each = {name: [at < of.get(name, 0) for at in range(30)] for name in
            [*FROZEN, "begun", "one", "head", "all"]}  # fmt: skip
    rights = {name: dict.fromkeys(FOLDS, scores) for name, scores in each.items()}
    plan = raced(rights, 1, ties=ties)
    assert plan.advised == ("everything" if said else "probe at one")
    assert said in plan.why
    longer = [each for each in plan.changes if each.startswith("a longer training: 36 epochs")]
    assert len(longer) == bool(said)
    assert all(each.endswith(": --epochs 36") for each in longer)


@pytest.mark.parametrize(("group_by", "said"), [("", 1), ("patient", 0)])
def test_series_are_asked_about_where_nothing_says_what_belongs_together(
    group_by: str, said: int
) -> None:
    plan = planned(whole=True, recipe=Recipe(data="x", group_by=group_by))
    assert sum(each.startswith("images in series") for each in plan.changes) == said


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (Gain(at="one", over="head", score=0.2, low=0.1, high=0.3),
         "unlike those of the pretraining: one knows 0.200 more than the last features"),
        (Gain(at="one", over="two", score=0.2, low=-0.1, high=0.3),
         "; like those of the pretraining: no earlier depth is known to be better than two, at the "
         "end of the network"),
        (Gain(at="head", over="head", score=0.0, low=-0.1, high=0.1),
         "; no earlier depth says whether they are like those of the pretraining"),
    ],
)  # fmt: skip
def test_how_like_they_are_is_said_as_far_as_it_is_known(gain: Gain, said: str) -> None:
    layers = replace(LAYERS, depths=replace(LAYERS.depths, gain=gain))
    assert planned(whole=True, layers=layers).scenario.text.endswith(said)
