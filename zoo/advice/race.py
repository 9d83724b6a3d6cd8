"""The race: recipes are tried on images that are held out, the worse ones are dropped early, and
what is left is compared with the best probe, image by image.

Successive halving (Jamieson and Talwalkar, AISTATS 2016) divides a budget so; here a recipe is
dropped where it is more than one standard error behind, and not by its rank. Each goes on where it
stopped. Who trains, and who fits probes, is given: this module decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from statistics import fmean

import torch
from torch import Tensor

from zoo.advice.depths import ahead, preferred
from zoo.backbones.taps import REFUSALS
from zoo.domain.progress import Progress, silent
from zoo.domain.words import plural
from zoo.errors import Conflict, ZooError
from zoo.executors.executor import Executor, SerialExecutor
from zoo.finetune.strategies.choose import best_epochs
from zoo.finetune.trial import Trial

__all__ = ["HERE", "Candidate", "Entry", "Race", "RUNGS"]

RUNGS = (1, 3)
"""Epochs after which recipes are compared, before all of them are done."""
BEHIND = "more than one standard error behind"
HERE = SerialExecutor("cpu", silent)
"""Where trials run that are scripted."""

Scores = Mapping[str, float]
"""The score of each image (`goodness`), by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A recipe to try.

    Attributes:
        name: What it is called.
        options: Those of `zoo.Recipe` that make it what it is.
        begin: Estimated seconds until its first epoch, on one fold.
        epoch: Estimated seconds of an epoch.
        network: Which network is trained, where there are several.
    """

    name: str
    options: Mapping[str, object]
    begin: float
    epoch: float
    network: str = ""

    def seconds(self, epochs: int) -> float:
        """Estimated, of so many epochs on one fold, from the beginning."""
        return self.begin + epochs * self.epoch


@dataclass(slots=True)
class Entry:
    """How far a candidate is.

    Attributes:
        candidate: Which.
        trials: One for each fold that it was tried on.
        dropped: Why it is out of the race; empty: it is not.
    """

    candidate: Candidate
    trials: list[Trial] = field(default_factory=list)
    dropped: str = ""

    @property
    def seconds(self) -> float:
        """What it has taken."""
        return sum(max(trial.seconds.values(), default=0.0) for trial in self.trials)

    @property
    def epochs(self) -> int:
        """How long to train: the median of what was best on each fold; 0: its probe was best."""
        return best_epochs([_means(trial) for trial in self.trials]) if self.trials else 0

    def so_far(self) -> dict[str, float]:
        """The score of each image after the best epoch of its fold. That epoch is chosen by these
        images, so what it would be on others is less: this only decides who is dropped.
        """
        scores = dict[str, float]()
        for trial in self.trials:
            means = _means(trial)
            at = max(means, key=lambda at: (means[at], -at))
            scores.update(zip(trial.images, trial.by_image[at], strict=True))
        return scores

    def held_out(self) -> dict[str, float]:
        """The score of each image after as many epochs as were best on the *other* folds, which it
        did not choose; of one fold alone, after all that are done.
        """
        scores = dict[str, float]()
        for trial in self.trials:
            others = [_means(other) for other in self.trials if other is not trial]
            most = best_epochs(others) if others else trial.epochs
            at = max(at for at in trial.by_image if at <= most)
            scores.update(zip(trial.images, trial.by_image[at], strict=True))
        return scores


class Race:
    """Candidates, on one fold after another, within a budget.

    Args:
        candidates: Who takes part.
        folds: What is held out in turn, as in `zoo.Recipe`; ``("",)``: the user's own validation
            images.
        attempt: Trains a candidate on a fold up to so many epochs; raises `Conflict` where another
            process is at it, and was not done within the budget. Where others run it, it can be
            pickled.
        probes: Fits the probes without these images, and gives the score that each has on them; in
            order of what using them costs.
        epochs: Of the schedule of all candidates.
        groups: Of images, by key; those of one count as one.
        budget: Seconds.
        missing: How many of so many epochs of a candidate on a fold are still to be trained, where
            some are kept from before. What is kept costs nothing.
        progress: Progress callback.
        clock: Seconds that have passed.
        drop: Is called with trials that nobody will resume.
        executor: Where those of a round are attempted.
        ties: Whether a training that is as good as the best probe, as far as can be seen, wins.

    Attributes:
        entries: How far each is, in the order in which they are tried: the quickest first.
        probed: The score of each image held out so far, by probe.
        too_long: Candidates that the budget leaves out.
        epochs: As above.
        groups: As above.
        stopped: ``budget`` or ``interrupted``; empty: the race was run to its end.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        folds: Sequence[str],
        attempt: Callable[[Candidate, str, int], Trial],
        probes: Callable[[Sequence[str]], Mapping[str, Sequence[float]]],
        *,
        epochs: int,
        groups: Mapping[str, str],
        budget: float,
        missing: Callable[[Candidate, str, int], int] = lambda _, __, epochs: epochs,
        progress: Progress = silent,
        clock: Callable[[], float] = time.monotonic,
        drop: Callable[[Trial], None] = lambda _: None,
        executor: Executor = HERE,
        ties: bool = False,
    ) -> None:
        self._clock, self._end = clock, clock() + budget
        self._folds, self._attempt, self._probes = folds, attempt, probes
        self.epochs, self.groups, self._missing = epochs, groups, missing
        self._progress, self._drop, self._executor = progress, drop, executor
        self.ties = ties
        ordered = sorted(candidates, key=lambda each: each.seconds(epochs))
        self.entries = [Entry(each) for each in ordered if self.needs(each) <= budget]
        self.too_long = [each for each in ordered if self.needs(each) > budget]
        self.probed: dict[str, dict[str, float]] = {}
        self._probed_folds = 0
        self.stopped = ""
        self._enough = True  # the budget, so far
        # Seconds that a trial took beside training, at most, and the probes of a fold.
        self._opening = self._probing = 0.0

    def needs(self, candidate: Candidate) -> float:
        """Estimated seconds until a candidate has done all of its epochs on the first fold."""
        left = self._missing(candidate, self._folds[0], self.epochs)
        return candidate.seconds(left) if left == self.epochs else left * candidate.epoch

    @property
    def racing(self) -> list[Entry]:
        """Those that are not out of it."""
        return [entry for entry in self.entries if not entry.dropped]

    @property
    def whole(self) -> bool:
        """Whether probes were asked about all images that are held out."""
        return self._probed_folds == len(self._folds)

    def run(self) -> None:
        """Until all is done, the budget is spent, or somebody interrupts it."""
        try:
            for number in range(len(self._folds)):
                if self.racing and not self._fold(number):
                    self.stopped = "budget"
                    return
        except KeyboardInterrupt:
            self.stopped = "interrupted"

    def _fold(self, number: int) -> bool:
        """One fold; whether the budget was enough."""
        for rung in sorted({*(rung for rung in RUNGS if rung < self.epochs), self.epochs}):
            for (entry, begun), result in self._executor.run(self._round(number, rung)):
                self._one(entry, number, begun, result)
            if not self._enough:
                return False
            for rivals in self._rivals(done=rung == self.epochs):
                self._drop_behind(rivals)
        if any(len(entry.trials) > number for entry in self.entries):
            self._against_probes()
        return True

    def _round(
        self, number: int, rung: int
    ) -> Iterator[tuple[tuple[Entry, float], Callable[[], Trial]]]:
        """Who is next, and when, as long as the budget is enough."""
        for entry in self.racing:
            needed = self._seconds_to(entry, number, rung)
            if needed and needed > self._end - self._clock():
                self._enough = False
            if not self._enough:
                return
            self._say(entry, number, rung)
            attempt = partial(self._attempt, entry.candidate, self._folds[number], rung)
            yield (entry, self._clock()), attempt

    def _one(self, entry: Entry, number: int, begun: float, result: Callable[[], Trial]) -> None:
        """What comes of one that has begun then."""
        before = max(entry.trials[number].seconds.values()) if self._tried(entry, number) else 0.0
        try:
            trial = result()
            trained = max(trial.seconds.values(), default=0.0) - before
            self._opening = max(self._opening, self._clock() - begun - trained)
            self._measure_probes(trial)
        except Conflict:
            self._enough = False  # another is still at it: a race without it may advise otherwise
        except (ZooError, *REFUSALS) as error:
            # One that cannot be trained, for want of memory say, ends no trial of the others.
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            self._out(entry, f"failed: {reason}")
        else:
            # Not before: what is compared has images of which the scores of probes are known.
            entry.trials[number:] = [trial]

    @staticmethod
    def _tried(entry: Entry, number: int) -> bool:
        return len(entry.trials) > number

    def _measure_probes(self, trial: Trial) -> None:
        if trial.images[0] in next(iter(self.probed.values()), {}):
            return
        begun, images = self._clock(), trial.images
        fold = {
            at: dict(zip(images, scores, strict=True))
            for at, scores in self._probes(images).items()
        }
        self.probed = {at: {**self.probed.get(at, {}), **scores} for at, scores in fold.items()}
        self._probed_folds += 1
        self._probing = self._clock() - begun

    def _seconds_to(self, entry: Entry, number: int, rung: int) -> float:
        """Estimated, from how long it took so far if it did anything; 0: all of it is kept."""
        candidate, trials = entry.candidate, entry.trials
        done = trials[number].epochs if self._tried(entry, number) else 0
        missing = self._missing(candidate, self._folds[number], rung)
        left = min(rung - done, missing)
        if left <= 0:
            return 0.0
        each = candidate.epoch
        if trials and trials[-1].epochs:
            seconds, epochs = trials[-1].seconds, trials[-1].epochs
            each = (seconds[epochs] - seconds.get(0, 0.0)) / epochs
        begin = candidate.begin if left == rung else 0.0
        first = not any(self._tried(other, number) for other in self.entries)
        return left * each + begin + self._opening + (self._probing if first else 0.0)

    def _rivals(self, *, done: bool) -> list[list[Entry]]:
        """Who is compared with whom: all, when they are ``done`` with a fold. Before, only those
        of one network, which begin with the same probe: another one may overtake.
        """
        networks = dict[str, list[Entry]]()
        for entry in self.racing:
            networks.setdefault("" if done else entry.candidate.network, []).append(entry)
        return list(networks.values())

    def _drop_behind(self, rivals: Sequence[Entry]) -> None:
        """Those that are behind the best on the images of both; the best epoch so far counts."""
        scores = {entry.candidate.name: entry.so_far() for entry in rivals}
        best = max(scores, key=lambda name: fmean(scores[name].values()))
        for entry in rivals:
            name = entry.candidate.name
            if name != best and self.ahead(scores[best], scores[name]):
                after_so_many = plural(entry.trials[-1].epochs, "epoch")
                self._out(entry, f"after {after_so_many} {BEHIND} {best}")

    def _against_probes(self) -> None:
        """Those that are behind the best probe when they have done all of their epochs; of one
        network, those that are no better.

        A training is taken at its best epoch of each fold, which flatters it: one that is no better
        even so will not win on all folds. Several networks are compared by what they come to, with
        a probe or without.
        """
        for entry in self.racing:
            scores = entry.so_far()
            _, probe = self.best_probe(scores)
            if self.ahead(probe, scores):
                self._out(entry, f"{BEHIND} the best probe")
            elif self.ties or entry.candidate.network:
                continue
            elif fmean(scores.values()) <= fmean(probe.values()):
                self._out(entry, "no better than the best probe")

    def best_probe(self, images: Scores) -> tuple[str, Scores]:
        """The probe that is best on these images, and its scores."""
        mine = {
            at: {key: scores[key] for key in images if key in scores}
            for at, scores in self.probed.items()
        }
        at = max(mine, key=lambda at: fmean(mine[at].values()) if mine[at] else -inf)
        return at, mine[at]

    def ahead(self, one: Scores, other: Scores) -> bool:
        """Whether one is better by more than a standard error, on the images that both have."""
        common = [key for key in one if key in other]
        if not common:
            return False
        groups = [self.groups.get(key, "") for key in common]
        return ahead(_tensor(one, common), _tensor(other, common), groups)

    def winner(self) -> Entry | None:
        """The training that is best, if it beats the best probe by more than a standard error; or,
        where ``ties`` win, has done all of its epochs on a fold, and is not behind it by more.
        """
        scores = {
            at: entry.held_out()
            for at, entry in enumerate(self.racing)
            if entry.trials and entry.epochs
        }
        if not scores:
            return None
        common = set.intersection(*(set(each) for each in scores.values()))
        best = max(scores, key=lambda at: fmean(scores[at][key] for key in common))
        entry, (_, probe) = self.racing[best], self.best_probe(scores[best])
        done = entry.trials[0].epochs >= self.epochs
        tied = self.ties and done and not self.ahead(probe, scores[best])
        return entry if tied or self.ahead(scores[best], probe) else None

    def probe(self) -> str:
        """The probe to use, as far as these images tell; empty: none was fitted."""
        if not self.probed:
            return ""
        keys = list(next(iter(self.probed.values())))
        groups = [self.groups.get(key, "") for key in keys]
        scores = {at: _tensor(each, keys) for at, each in self.probed.items()}
        return preferred(scores, groups)

    def _out(self, entry: Entry, why: str) -> None:
        entry.dropped = why
        self._progress.say(f"  {entry.candidate.name} is dropped: {why}")
        for trial in entry.trials:
            self._drop(trial)

    def _say(self, entry: Entry, number: int, rung: int) -> None:
        """What is tried, and what is left."""
        fold = f"fold {number + 1} of {len(self._folds)}, " if len(self._folds) > 1 else ""
        epochs = plural(rung, "epoch")
        racing = self.racing
        which = f"{racing.index(entry) + 1} of {plural(len(racing), 'recipe')} in the race"
        seconds = max(self._end - self._clock(), 0)
        self._progress.say(
            f"trying {fold}{epochs}: {entry.candidate.name}, {which}; {seconds:.0f} s left"
        )


def _means(trial: Trial) -> dict[int, float]:
    return {at: fmean(scores) for at, scores in trial.by_image.items()}


def _tensor(scores: Scores, keys: Sequence[str]) -> Tensor:
    return torch.tensor([scores[key] for key in keys])
