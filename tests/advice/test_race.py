"""Who wins a race: by scripted trials, whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from zoo.advice.race import HERE, Candidate, Race
from zoo.domain.progress import silent
from zoo.errors import Conflict, InvalidOption
from zoo.finetune.trial import Trial

EACH = 100
"""Images of a fold."""
EPOCHS = 9
Attempt = Callable[[Candidate, str, int], Trial]


class Scripted:
    """Trials whose accuracy after so many epochs is known; each epoch takes ten seconds."""

    def __init__(self, **curves: Sequence[float]) -> None:
        self.curves, self.clock = curves, 0.0
        self.done: list[tuple[str, str, int]] = []
        self.dropped: list[str] = []
        self.at: dict[tuple[str, str], int] = {}

    def attempt(self, candidate: Candidate, fold: str, epochs: int) -> Trial:
        self.done.append((candidate.name, fold, epochs))
        before = self.at.get((candidate.name, fold), 0)
        self.clock += 10 * (epochs - before)
        self.at[candidate.name, fold] = epochs
        curve = self.curves[candidate.name]
        shares = {at: curve[min(at, len(curve) - 1)] for at in range(epochs + 1)}
        return Trial(
            folder=Path(candidate.name),
            of=EPOCHS,
            images=images(fold),
            scores=shares,
            by_image={at: right(share) for at, share in shares.items()},
            seconds={at: 10.0 * at for at in shares},
            trained=200,
        )

    def race(
        self,
        accuracy: Mapping[str, float],
        folds: int = 3,
        budget: float = 1e9,
        attempt: Attempt | None = None,
        networks: Sequence[str] = (),
        **options: Any,
    ) -> Race:
        held_out = [f"{at}/{folds}" for at in range(1, folds + 1)] if folds > 1 else [""]
        candidates = [
            Candidate(name=name, options={}, begin=0.0, epoch=10.0, network=network)
            for name, network in zip_longest(self.curves, networks, fillvalue="")
        ]
        return Race(
            candidates,
            held_out,
            attempt or self.attempt,
            **{
                "probes": lambda _: {at: right(share) for at, share in accuracy.items()},
                "epochs": EPOCHS,
                "groups": {},
                "budget": budget,
                "clock": lambda: self.clock,
                "drop": lambda trial: self.dropped.append(str(trial.folder)),
                **options,
            },
        )


def images(fold: str) -> tuple[str, ...]:
    return tuple(f"{fold} {number}" for number in range(EACH))


def right(share: float) -> tuple[float, ...]:
    return tuple(float(number < share * EACH) for number in range(EACH))


def test_what_beats_the_best_probe_is_advised_and_the_rest_dropped() -> None:
    script = Scripted(good=[0.6, 0.7, 0.8, 0.9], bad=[0.5, 0.4, 0.45], same=[0.6, 0.7, 0.8, 0.9])
    race = script.race({"head": 0.6, "all": 0.8})
    race.run()
    winner = race.winner()
    assert winner is not None
    assert winner.candidate.name == "good"
    assert winner.epochs == 3
    assert [name for name, *_ in script.done].count("bad") == 1
    assert script.dropped == ["bad"]
    assert race.entries[1].dropped == "after 1 epoch more than one standard error behind good"
    assert [(fold, epochs) for name, fold, epochs in script.done if name == "good"] == [
        (f"{fold}/3", epochs) for fold in (1, 2, 3) for epochs in (1, 3, 9)
    ]
    assert len(winner.held_out()) == 3 * EACH
    assert race.stopped == ""
    assert race.whole


def test_a_difference_that_may_be_chance_is_none() -> None:
    """One point on a hundred images is no more than a standard error."""
    script = Scripted(tuned=[0.6, 0.8, 0.81])
    race = script.race({"all": 0.8}, folds=1)
    race.run()
    assert race.winner() is None
    assert not race.entries[0].dropped  # nor is it worse


def test_what_is_worse_than_a_probe_is_dropped_after_one_fold() -> None:
    """Not before it has done all of its epochs: what is slow at first may win."""
    script = Scripted(slow=[0.5, 0.5, 0.5, 0.6])
    race = script.race({"all": 0.8})
    race.run()
    assert [epochs for _, _, epochs in script.done] == [1, 3, 9]
    assert race.entries[0].dropped == "more than one standard error behind the best probe"
    assert race.winner() is None
    late = Scripted(late=[0.5, 0.3, 0.3, 0.3, 0.9]).race({"all": 0.8})
    late.run()
    assert late.winner() is late.entries[0]


@pytest.mark.parametrize(
    ("best", "networks", "folds"), [(0.8, (), 1), (0.81, (), 3), (0.8, ("a", "b"), 3)]
)
def test_what_is_no_better_than_a_probe_goes_no_further(
    best: float, networks: Sequence[str], folds: int
) -> None:
    """It would have to be better by far on the other folds. What is a little better goes on. Of
    several networks, each is compared with the others.
    """
    script = Scripted(one=[0.6, best], two=[0.6, best])
    race = script.race({"all": 0.8}, networks=networks)
    race.run()
    assert len({fold for _, fold, _ in script.done}) == folds
    dropped = "no better than the best probe" if folds == 1 else ""
    assert [entry.dropped for entry in race.entries] == [dropped] * 2
    assert (race.winner() is None) == (best == 0.8)  # a point on 300 images is seen
    assert race.stopped == ""


@pytest.mark.parametrize(
    ("best", "ties", "wins"),
    [(0.8, True, True), (0.8, False, False), (0.79, True, True), (0.7, True, False)],
)
def test_a_tie_may_be_for_training(best: float, ties: bool, wins: bool) -> None:
    """Also one that is behind by less than a hundred images tell."""
    race = Scripted(one=[0.6, best]).race({"all": 0.8}, folds=1, ties=ties)
    race.run()
    assert (race.winner() is not None) == wins


@pytest.mark.parametrize(("epochs", "wins"), [(1, False), (3, False), (9, True)])
@pytest.mark.parametrize("folds", [1, 3])
def test_a_tie_is_for_no_training_that_was_cut_off(folds: int, epochs: int, wins: bool) -> None:
    """What was as good after all epochs was seen to be better; after one, nothing was."""
    script = Scripted(one=[0.6, 0.8])

    def attempt(candidate: Candidate, fold: str, until: int) -> Trial:
        trial = script.attempt(candidate, fold, until)
        script.clock += 1000 * (until >= epochs)
        return trial

    race = script.race({"all": 0.8}, folds, budget=500, attempt=attempt, ties=True)
    race.run()
    assert max(each for _, _, each in script.done) == epochs
    assert (race.winner() is not None) == wins
    assert race.racing  # it goes on where there is more time


def test_a_network_that_begins_worse_may_overtake_another_until_both_are_done() -> None:
    """Recipes of one network begin with one probe, those of two do not."""
    curves = {"quick": [0.8], "late": [0.4, 0.4, 0.4, 0.4, 0.9], "never": [0.4]}
    for networks, dropped in (
        (("a", "b", "c"), ["quick", "never"]),
        (("",) * 3, ["late", "never"]),
    ):
        script = Scripted(**curves)
        race = script.race({"head": 0.4}, folds=1, networks=networks)
        race.run()
        assert script.dropped == dropped


def test_the_epochs_are_not_chosen_on_the_images_that_judge_them() -> None:
    """Each fold has another epoch that is best by luck; none is good on the others."""
    lucky = {"1/3": 1, "2/3": 2, "3/3": 3}
    script = Scripted(lucky=[0.5])
    real = script.attempt

    def attempt(candidate: Candidate, fold: str, epochs: int) -> Trial:
        trial = real(candidate, fold, epochs)
        best = {at: right(0.9 if at == lucky[fold] else 0.5) for at in trial.by_image}
        return replace(trial, by_image=best)

    race = script.race({"all": 0.7}, attempt=attempt)
    race.run()
    (entry,) = race.entries
    assert fmean(entry.so_far().values()) == pytest.approx(0.9)
    assert fmean(entry.held_out().values()) == pytest.approx(0.5)
    assert race.winner() is None


def test_training_that_never_beats_its_own_probe_is_not_advised() -> None:
    race = Scripted(worse=[0.9, 0.8, 0.7]).race({"head": 0.8})
    race.run()
    assert race.winner() is None


@pytest.mark.parametrize(("scores", "one"), [((0.82, 0.8, 0.8), "all"), ((0.9, 0.6, 0.5), "a")])
def test_all_depths_unless_another_is_better_for_sure(scores: Sequence[float], one: str) -> None:
    race = Scripted(x=[0.1]).race(dict(zip(("a", "head", "all"), scores, strict=True)))
    race.run()
    assert race.probe() == one


def test_the_budget_ends_it_and_the_best_so_far_stands() -> None:
    script = Scripted(a=[0.5, 0.9], b=[0.5, 0.9])
    race = script.race({"all": 0.7}, budget=95)
    race.run()
    assert script.done == [("a", "1/3", 1), ("b", "1/3", 1), ("a", "1/3", 3), ("b", "1/3", 3)]
    assert script.clock <= 95
    assert race.stopped == "budget"
    assert not race.whole
    winner = race.winner()
    assert winner is not None
    assert winner.candidate.name == "a"


def test_what_cannot_be_done_in_the_budget_is_left_out_and_named() -> None:
    script = Scripted(a=[0.5, 0.9])
    race = script.race({"all": 0.7}, budget=80)  # nine epochs take ninety seconds
    race.run()
    assert (script.done, race.entries) == ([], [])
    assert [each.name for each in race.too_long] == ["a"]
    assert race.probe() == ""


def test_an_interrupt_leaves_what_is_known() -> None:
    script = Scripted(a=[0.5, 0.9], b=[0.5, 0.9])
    real = script.attempt

    def attempt(candidate: Candidate, fold: str, epochs: int) -> Trial:
        if len(script.done) == 3:
            raise KeyboardInterrupt
        return real(candidate, fold, epochs)

    race = script.race({"all": 0.7}, attempt=attempt)
    race.run()
    assert race.stopped == "interrupted"
    assert race.winner() is race.entries[0]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(InvalidOption("too few images"), "too few images"), (LookupError("x"), "x"),
     (AssertionError(), "AssertionError"), (torch.OutOfMemoryError("CUDA\nout"), "CUDA")],
)  # fmt: skip
def test_a_recipe_that_fails_is_dropped_with_the_reason(error: Exception, reason: str) -> None:
    script = Scripted(a=[0.5], b=[0.5, 0.9])

    def attempt(candidate: Candidate, fold: str, epochs: int) -> Trial:
        if candidate.name == "a":
            raise error
        return script.attempt(candidate, fold, epochs)

    race = script.race({"all": 0.7}, attempt=attempt)
    race.run()
    assert race.entries[0].dropped == f"failed: {reason}"
    assert race.winner() is race.entries[1]


def test_no_recipe_is_dropped_because_another_process_is_at_it() -> None:
    def attempt(candidate: Candidate, fold: str, epochs: int) -> Trial:
        raise Conflict("the run x is running")

    race = Scripted(a=[0.5]).race({"all": 0.7}, attempt=attempt)
    race.run()
    assert not race.entries[0].dropped
    assert race.stopped == "budget"


@pytest.mark.parametrize("fold", [1, 2])
def test_an_interrupt_while_probes_are_fitted_leaves_what_is_known(fold: int) -> None:
    """A trial of which no probe has seen the images does not count."""
    calls = 0

    def probes(keys: Sequence[str]) -> dict[str, tuple[float, ...]]:
        nonlocal calls
        calls += 1
        if calls == fold:
            raise KeyboardInterrupt
        return {"all": right(0.7)}

    race = Scripted(a=[0.5, 0.9], b=[0.5, 0.9]).race({}, probes=probes)
    race.run()
    assert race.stopped == "interrupted"
    assert {len(entry.trials) for entry in race.entries} == {fold - 1}
    assert race.winner() is (None if fold == 1 else race.entries[0])
    assert race.probe() == ("" if fold == 1 else "all")


def test_what_is_kept_costs_nothing() -> None:
    """However small the budget is, the answer is the same as before."""
    script = Scripted(a=[0.5, 0.9], b=[0.5, 0.4])
    race = script.race({"all": 0.7}, budget=1, missing=lambda *_: 0)
    race.run()
    assert (race.stopped, race.too_long) == ("", [])
    assert race.winner() is race.entries[0]
    script = Scripted(a=[0.5, 0.9])
    race = script.race({"all": 0.7}, budget=59, missing=lambda _, __, epochs: max(epochs - 3, 0))
    assert [(each.name, race.needs(each)) for each in race.too_long] == [("a", 60)]


def test_what_a_trial_takes_beside_training_counts() -> None:
    """Opening images, and the probes of each fold: measured once, then counted."""
    script = Scripted(a=[0.5, 0.9])

    def attempt(candidate: Candidate, fold: str, epochs: int) -> Trial:
        script.clock += 20
        return script.attempt(candidate, fold, epochs)

    def probes(keys: Sequence[str]) -> dict[str, tuple[float, ...]]:
        script.clock += 100
        return {"all": right(0.7)}

    # A fold takes three times 20 s, nine epochs of 10 s, and 100 s for its probes: 250 s.
    budget = 250 + 129  # the first rung of the second fold needs 20 + 10 + 100 s
    race = script.race({}, budget=budget, attempt=attempt, probes=probes)
    race.run()
    assert (race.stopped, script.clock) == ("budget", 250)
    again = Scripted(a=[0.5, 0.9])
    script, budget = again, 250 + 130
    race = script.race({}, budget=budget, attempt=attempt, probes=probes)
    race.run()
    assert (race.stopped, script.clock) == ("budget", 380)


def test_groups_count_as_one() -> None:
    """Of images that show the same, those that differ are one difference."""
    script = Scripted(a=[0.5, 0.75])
    alone = script.race({"all": 0.7})
    same = {f"{fold}/3 {number}": "one" for fold in (1, 2, 3) for number in range(70, 75)}
    together = script.race({"all": 0.7}, groups=same)
    for race in (alone, together):
        race.run()
    assert alone.winner() is alone.entries[0]
    assert together.winner() is None


class Together:
    """An executor in which all trials of a round go on at once, and end in reverse."""

    own = device = host = "cpu"
    progress = silent

    def run(self, trials: Any) -> Any:
        yield from reversed(list(trials))


def test_a_race_comes_out_alike_in_whatever_order_trials_end() -> None:
    curves = {"good": [0.6, 0.7, 0.8, 0.9], "bad": [0.5, 0.4, 0.45], "same": [0.6, 0.7, 0.8, 0.9]}
    ends = []
    for executor in (HERE, Together()):
        race = Scripted(**curves).race({"head": 0.6, "all": 0.8}, executor=executor)
        race.run()
        winner = race.winner()
        assert winner is not None
        trials = [(each.candidate.name, each.dropped, each.so_far()) for each in race.entries]
        ends.append((winner.candidate.name, trials, race.probed, race.stopped))
    assert ends[0] == ends[1]


def test_what_fails_or_is_taken_ends_no_other_trial_of_its_round() -> None:
    """Nobody is dropped by a round that lacks one, as the budget did not allow for waiting."""
    script = Scripted(good=[0.9], taken=[0.9], broken=[0.9])

    def attempt(candidate: Candidate, fold: str, epochs: int) -> Trial:
        if candidate.name == "broken":
            raise InvalidOption("too large")
        if candidate.name == "taken":
            raise Conflict("another process")
        return script.attempt(candidate, fold, epochs)

    race = script.race({"all": 0.5}, attempt=attempt, executor=Together())
    race.run()
    assert race.stopped == "budget"
    assert [each.dropped for each in race.entries] == ["", "", "failed: too large"]
    assert [len(each.trials) for each in race.entries] == [1, 0, 0]
