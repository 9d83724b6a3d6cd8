"""What the layers know: how well a probe does at each depth, and on all depths together.

All depths together are what `zoo finetune --strategy probe --at all` fits a probe on
(docs/probes.md).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from scipy.stats import norm
from torch import Tensor

from zoo.advice.held_out import Features, HeldOut, held_out
from zoo.backbones.taps import HEAD
from zoo.domain.progress import Progress, silent
from zoo.domain.result import Result
from zoo.domain.task import Task
from zoo.finetune.results.interval import independent, wilson

__all__ = [
    "TOGETHER",
    "Depth",
    "Depths",
    "Gain",
    "ahead",
    "cheapest",
    "error_of_mean",
    "preferred",
    "probe_depths",
    "span",
    "usable",
]

TOGETHER = "all"
"""What features of all depths beside each other are called."""
LEVEL = 0.95
SURE = 2.0
"""Standard errors by which one probe must be ahead of all depths together."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Depth(Result):
    """A probe on the features of one depth, or of all together.

    Attributes:
        at: The unit, ``head`` (the last features), or ``all``.
        features: How many there are.
        score: Mean `goodness` of the images held out: accuracy, F1 of labels, R2 of numbers.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    at: str
    features: int
    score: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Gain(Result):
    """How much better an earlier depth is than those at the end of the network, image by image.

    Attributes:
        at: The best of the earlier depths; where there is none, the same as ``over``.
        over: The best at the end: ``head``, or a unit of the last tenth.
        score: The mean difference of their scores.
        low: Lower end of its 95 % interval, which allows for the depth being the best of several
            (Bonferroni).
        high: Upper end.
    """

    at: str
    over: str
    score: float
    low: float
    high: float

    @property
    def unlike(self) -> bool:
        """Whether it is more than chance explains: the images are unlike those that the network
        was trained on.
        """
        return self.low > 0

    @property
    def end(self) -> str:
        """What it is over, in words."""
        return (
            "the last features" if self.over == HEAD else f"{self.over}, at the end of the network"
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Depths(Result):
    """Probes at all depths, in order of depth, then ``head``, then ``all``.

    Attributes:
        depths: Each probe.
        best: The ``at`` of the one with the best score.
        best_single: The same without ``all``.
        preferred: Of the best single one, the last features and all together the one to use.
        cheapest: Of these the one that costs least to use, among those within one standard error
            of the best.
        gain: That of the best of the earlier ones over the best at the end.
    """

    depths: tuple[Depth, ...]
    best: str
    best_single: str
    preferred: str
    cheapest: str
    gain: Gain

    def __getitem__(self, at: str) -> Depth:
        return next(depth for depth in self.depths if depth.at == at)


def probe_depths(
    by_depth: Mapping[str, Tensor],
    together: Features,
    seed: int,
    progress: Progress = silent,
    end: Collection[str] = (HEAD,),
) -> tuple[Depths, HeldOut]:
    """Cross-validate a probe on the features of each depth, and on all together.

    Args:
        by_depth: Features float32 (N, F) by unit, in order of depth, then ``head``.
        together: All of them beside each other, and what the images are.
        seed: Seeds the folds.
        progress: Progress callback.
        end: Depths that are at the end of the network, ``head`` among them.

    Returns:
        The scores, and how well the probe on all together tells each image.
    """
    probes: dict[str, HeldOut] = {}
    inputs = {at: replace(together, values=values, parts=()) for at, values in by_depth.items()}
    inputs[TOGETHER] = together
    with progress("probing each depth", len(inputs)) as bar:
        for at, features in inputs.items():
            probes[at] = held_out(features, seed)
            bar.advance(note=f"{at} {probes[at].scores.mean().item():.3f}")
    depths = tuple(_depth(at, features, probes[at].scores) for at, features in inputs.items())
    best_single = max(depths[:-1], key=lambda depth: depth.score).at
    scores = {at: probes[at].scores for at in usable(best_single)}
    result = Depths(
        depths=depths,
        best=max(depths, key=lambda depth: depth.score).at,
        best_single=best_single,
        preferred=preferred(scores, together.groups),
        cheapest=cheapest(scores, together.groups),
        gain=_gain({at: probes[at].scores for at in by_depth}, end, together.groups),
    )
    return result, probes[TOGETHER]


def _depth(at: str, features: Features, scores: Tensor) -> Depth:
    mean, low, high = span(scores, features.groups, features.task)
    return Depth(at=at, features=features.values.shape[1], score=mean, low=low, high=high)


def span(scores: Tensor, groups: Sequence[str], task: Task) -> tuple[float, float, float]:
    """The mean of scores (N,) with its 95 % interval: that of a share where they are right and
    wrong; else of a mean, up to 1.
    """
    mean, images = scores.double().mean().item(), independent(scores, groups)
    if task == "classification":
        return mean, *wilson(round(mean * images), images)
    half = error_of_mean(scores, images) * norm.ppf((1 + LEVEL) / 2)
    return mean, mean - half, min(mean + half, 1.0)


def usable(best_single: str) -> tuple[str, ...]:
    """The probes that may be advised, in order of what using them costs: a network that is cut off
    costs less than a whole one, and that less than one that gathers features of all depths.
    """
    return tuple(dict.fromkeys((best_single, HEAD, TOGETHER)))


def cheapest(scores: Mapping[str, Tensor], groups: Sequence[str]) -> str:
    """The first that is no more than one standard error behind the best, image by image."""
    best = _best(scores)
    return next(at for at in scores if at == best or not ahead(scores[best], scores[at], groups))


def preferred(scores: Mapping[str, Tensor], groups: Sequence[str]) -> str:
    """All depths together, unless the best is ahead by more than `SURE` standard errors.

    A few hundred images cannot tell probes apart that differ by less, and on new images all depths
    together were never behind the best single one (ADR 67).
    """
    best = _best(scores)
    return best if ahead(scores[best], scores[TOGETHER], groups, SURE) else TOGETHER


def _best(scores: Mapping[str, Tensor]) -> str:
    return max(scores, key=lambda at: scores[at].double().mean().item())


def ahead(one: Tensor, other: Tensor, groups: Sequence[str], errors: float = 1) -> bool:
    """Whether the ``one`` scores (N,) are better than the ``other`` by more than so many standard
    errors of their difference, image by image.
    """
    differences = (one - other).double()
    error = error_of_mean(differences, independent(differences, groups))
    return differences.mean().item() > errors * error


def _gain(scores: Mapping[str, Tensor], end: Collection[str], groups: Sequence[str]) -> Gain:
    over = _best({at: each for at, each in scores.items() if at in end})
    earlier = {at: each for at, each in scores.items() if at not in end}
    best = _best(earlier or {over: scores[over]})
    differences = scores[best] - scores[over]
    mean = differences.double().mean().item()
    error = error_of_mean(differences, independent(differences, groups))
    half = error * float(norm.ppf(1 - (1 - LEVEL) / 2 / max(len(earlier), 1)))
    return Gain(at=best, over=over, score=mean, low=mean - half, high=mean + half)


def error_of_mean(scores: Tensor, images: int) -> float:
    """Standard error of the mean of scores (N,), as of so many independent images.

    As if there were a right and a wrong one more of each two: without any difference the error
    would be 0 (Agresti and Coull, The American Statistician 52, 1998).
    """
    spread = scores.double().var(correction=0).item()
    return math.sqrt((spread * images + 1) / (images + 4) / (images + 4))
