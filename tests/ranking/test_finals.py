"""What short runs change in the order of networks: only what is more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from fakes.measured import MEASURED

from zoo.advice.race import Candidate, Race
from zoo.domain.digest import Digest
from zoo.finetune.trial import Trial
from zoo.ranking import finals as module
from zoo.ranking.differences import significant_pairs
from zoo.ranking.order import by_finals, by_probes, ordered_by
from zoo.ranking.outcome import Ended, Finals, Outcome
from zoo.ranking.prior import Prior
from zoo.ranking.ranked import Ranked

IMAGES = 300
PROBE = 0.6


def row(name: str, *, behind: bool = False, finalist: bool = True) -> Ranked:
    return Ranked(
        name=name, manifest=digest(name), state="measured", params=1, measured=MEASURED,
        prior=Prior(kind="size", value=1, data_sets=0), finalist=finalist, behind=behind,
    )  # fmt: skip


def digest(name: str) -> Digest:
    return Digest("sha256", name.encode().hex().ljust(64, "0"))


def outcome(share: float, *, trained: bool, images: int = IMAGES) -> tuple[Outcome, ...]:
    """Right of the first share of images; only the first so many were asked."""
    right = [float(at < share * IMAGES) if at < images else None for at in range(IMAGES)]
    kind: Literal["training", "probe"] = "training" if trained else "probe"
    return (
        Outcome(
            name=kind, kind=kind, options={}, score=share, low=share, high=share, images=images,
            scores=tuple(right),
        ),
    )  # fmt: skip


def settled(
    rows: Sequence[Ranked], ended: Ended = "", **networks: tuple[Outcome, ...]
) -> list[tuple[str, bool]]:
    """Names in order, and which are alike."""
    finals = Finals(
        networks={str(digest(name)): found for name, found in networks.items()},
        left_out={}, ended=ended, trained=1,
    )  # fmt: skip
    return [(each.name, each.behind) for each in by_finals(rows, finals, [""] * IMAGES)]


def probe(share: float = PROBE) -> tuple[Outcome, ...]:
    return outcome(share, trained=False)


def training(share: float, images: int = IMAGES) -> tuple[Outcome, ...]:
    return outcome(share, trained=True, images=images)


def test_without_a_training_that_gains_the_order_of_the_probes_stands() -> None:
    """Even where the probes that were fitted for the race seem to say otherwise."""
    rows = [row("a"), row("b"), row("c", finalist=False), row("d", behind=True)]
    before = [(each.name, each.behind) for each in rows]
    assert settled(rows, a=probe(0.5), b=probe(0.7), d=probe(0.8)) == before


def test_what_training_makes_better_is_first() -> None:
    rows = [row("a"), row("b"), row("c"), row("d", finalist=False)]
    found = settled(rows, a=probe(), b=probe(), c=training(0.8))
    assert found == [("c", False), ("a", True), ("b", True), ("d", False)]


def test_a_gain_that_chance_explains_changes_no_order() -> None:
    rows = [row("a"), row("b"), row("d", finalist=False)]
    for gain in (0.003, -0.003):  # one image
        found = settled(rows, a=probe(), b=training(PROBE + gain))
        assert found == [("a", False), ("b", False), ("d", False)]


def quick(name: str, ms: float, share: float) -> Ranked:
    """A network as fast as that, whose probe is right of that share of the images."""
    right = tuple(float(at < share * IMAGES) for at in range(IMAGES))
    measured = replace(MEASURED, ms=ms, score=share, scores=right)
    prior = Prior(kind="published", value=80.0 if name == "a" else 70.0, data_sets=1)
    return replace(row(name), measured=measured, prior=prior)


def test_of_those_that_training_leaves_level_the_quickest_is_first() -> None:
    """Whatever was known before of a; c is more than one standard error behind, but not seen so."""
    rows = [quick("a", 9.0, 0.9), quick("b", 2.0, 0.9), quick("c", 1.0, 0.88)]
    rows = [*by_probes(rows, [""] * IMAGES, 3)]
    assert [each.name for each in rows] == ["a", "b", "c"]
    tried = {name: (*probe(), *training(0.5)) for name in "abc"}
    assert settled(rows, "", **tried) == [("b", False), ("a", False), ("c", False)]
    # Where the budget left trainings out, nobody knows what they bring.
    assert [name for name, _ in settled(rows, "budget", **tried)] == ["a", "b", "c"]
    # What training brings counts instead, where it brings anything.
    gained = {**tried, "a": training(0.9), "b": training(0.89), "c": training(0.9)}
    assert [name for name, _ in settled(rows, "", **gained)] == ["c", "a", "b"]


def test_a_larger_network_is_not_better_for_that() -> None:
    """Of 400 digits an efficientnet of 4.7 million parameters knew 0.984, a small network 0.997."""
    small, large = quick("small", 1.0, 0.997), quick("large", 4.0, 0.984)
    rows = [
        replace(each, prior=Prior(kind="size", value=size, data_sets=0))
        for each, size in ((large, 4_700_000), (small, 374_000))
    ]
    ranked = by_probes(rows, [""] * IMAGES, 1)
    assert [(each.name, each.behind) for each in ranked] == [("small", False), ("large", False)]
    assert all(each.finalist for each in ranked)  # it is tried all the same
    assert ordered_by(ranked, None) == "score"
    tried = {each.name: (*probe(), *training(0.5)) for each in ranked}
    assert [name for name, _ in settled(ranked, "", **tried)] == ["small", "large"]


def test_who_was_behind_and_gains_is_among_the_first_and_who_does_not_stays_behind() -> None:
    rows = [row("a"), row("d", finalist=False), row("b", behind=True), row("c", behind=True)]
    found = settled(rows, a=probe(), b=training(PROBE), c=probe(PROBE))
    assert found == [("a", False), ("b", False), ("d", False), ("c", True)]


def test_where_a_finalist_could_take_no_part_the_order_stands() -> None:
    rows = [row("a"), row("b"), row("c")]
    assert settled(rows, b=probe(), c=training(0.9)) == [("a", False), ("b", False), ("c", False)]


def test_who_was_dropped_early_is_compared_by_the_images_of_both() -> None:
    """Of the first 150 images, which all are easy, a is right of all, and so is b."""
    rows = [row("a"), row("b"), row("c")]
    found = settled(rows, a=training(0.9), b=training(0.6, images=150), c=probe())
    assert found == [("a", False), ("b", False), ("c", True)]


def test_pairs_are_compared_where_both_were_asked() -> None:
    """Of 40 images four more are seen, unless they are of two groups."""
    one, other = torch.full((2, IMAGES), torch.nan)
    one[:40], other[:40], other[:8] = 1, 1, 0
    whole = torch.ones(IMAGES)
    assert significant_pairs([one, other, whole]) == {(0, 1), (2, 1)}
    assert significant_pairs([one, other], [str(at // 8) for at in range(IMAGES)]) == set()


@pytest.mark.parametrize("gain", [True, False])
def test_which_are_alike_after_short_runs(gain: bool) -> None:
    """Who took no part may be better or worse than who was made better."""
    from zoo.ranking.ranked import Ranking

    first = training(0.8) if gain else probe()
    rows = [replace(row("a"), outcomes=first), replace(row("b"), outcomes=probe()), row("c")]
    ranking = Ranking(
        data="x", data_digest="", split_digest="", task="classification", measure="accuracy",
        images=40, chance=0.5, without=(), skipped=(), prior="size",
        networks=tuple(rows), winner="a", left_out={}, ended="", seconds=1.0,
    )  # fmt: skip
    assert [each.name for each in ranking.alike] == ["a", "b"] + ([] if gain else ["c"])


def test_a_training_counts_if_it_is_more_than_one_standard_error_better() -> None:
    """Than the best probe of its network, that is: the other one has a better probe."""
    keys = tuple(str(at) for at in range(100))
    runs = {"a: good": 0.8, "a: same": 0.61, "b: good": 0.1}
    probes = {
        "a: one": 0.5,
        "a: head": 0.6,
        "a: all": 0.4,
        "b: one": 0.7,
        "b: head": 0.9,
        "b: all": 0.0,
    }

    def right(share: float) -> tuple[float, ...]:
        return tuple(float(at < 100 * share) for at in range(100))

    def attempt(candidate: Candidate, fold: str, epochs: int) -> Trial:
        return Trial(
            folder=Path(), of=1, images=keys, scores={0: 0.0, 1: runs[candidate.name]},
            by_image={0: right(0.0), 1: right(runs[candidate.name])},
            seconds={0: 1.0, 1: 2.0}, trained=100,
        )  # fmt: skip

    race = Race(
        [Candidate(name=n, options={}, begin=0, epoch=1, network=n[0]) for n in runs],
        [""], attempt, lambda _: {at: right(share) for at, share in probes.items()}, epochs=1,
        groups={}, budget=1e9, drop=lambda _: None,
    )  # fmt: skip
    race.run()
    found = {
        name: [
            (one.name, one.score, one.seconds)
            for one in module.outcomes(race, name, "one", [*keys, "other"], "classification")
        ]
        for name in ("a", "b")
    }
    assert found == {
        "a": [("good", 0.8, 2.0), ("probe at head", 0.6, 0.0), ("same", 0.61, 2.0)],
        "b": [("probe at head", 0.9, 0.0), ("good", 0.1, 2.0)],
    }
