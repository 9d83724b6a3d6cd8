"""What the layers know: how well a probe does at each depth, and on all depths together.

All depths together are what `zoo finetune --strategy probe --at all` fits a probe on
(docs/probes.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.advice.held_out import HeldOut, held_out, part_folds
from zoo.backbones.taps import HEAD
from zoo.domain.progress import Progress, silent
from zoo.domain.result import Result
from zoo.domain.task import Task

__all__ = ["TOGETHER", "Depth", "Depths", "probe_depths"]

TOGETHER = "all"
"""What features of all depths beside each other are called."""
SURE = 1.96
"""Standard errors on each side of an interval of 95 %."""


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
class Depths(Result):
    """Probes at all depths, in order of depth, then ``head``, then ``all``.

    Attributes:
        depths: Each probe.
        best: The ``at`` of the one with the best score.
        earlier: The best ``at`` of a single unit.
        gained: How much better that is than the last features, with the ends of its interval,
            image by image.
    """

    depths: tuple[Depth, ...]
    best: str
    earlier: str
    gained: tuple[float, float, float]

    def __getitem__(self, at: str) -> Depth:
        return next(depth for depth in self.depths if depth.at == at)


def probe_depths(
    features: Mapping[str, Tensor],
    targets: Tensor,
    *,
    task: Task,
    groups: Sequence[str] = (),
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Depths, dict[str, HeldOut]]:
    """Cross-validate a probe on the features of each depth, and on all together.

    Args:
        features: By unit in order of depth, then ``head``: float32 (N, F).
        targets: Class indices (N,), labels in 0..1 (N, K), or numbers (N, K).
        task: What the targets are.
        groups: Of each image; those of one are in one fold.
        seed: Seeds the folds.
        progress: Progress callback.

    Returns:
        The scores, and what each probe said of images that it was not fitted on.
    """
    divisions = part_folds(targets, seed, groups)
    sizes = [values.shape[1] for values in features.values()]
    inputs = {**features, TOGETHER: torch.cat(list(features.values()), dim=1)}
    said: dict[str, HeldOut] = {}
    with progress("probing each depth", len(inputs)) as bar:
        for at, values in inputs.items():
            parts = sizes if at == TOGETHER else ()
            said[at] = held_out(values, targets, task=task, divisions=divisions, parts=parts)
            bar.advance(note=f"{at} {said[at].scores.mean().item():.3f}")
    depths = tuple(
        Depth(at=at, features=values.shape[1], **_interval(said[at].scores))
        for at, values in inputs.items()
    )
    single = [depth for depth in depths if depth.at != TOGETHER]
    earlier = max(single, key=lambda depth: depth.score).at
    gain = _interval(said[earlier].scores - said[HEAD].scores)
    found = Depths(
        depths=depths,
        best=max(depths, key=lambda depth: depth.score).at,
        earlier=earlier,
        gained=(gain["score"], gain["low"], gain["high"]),
    )
    return found, said


def _interval(scores: Tensor) -> dict[str, float]:
    """The mean of the scores of images (N,), and the ends of its 95 % interval."""
    mean, count = scores.double().mean().item(), len(scores)
    # Two right and two wrong ones more: without a wrong one there would be no interval (Agresti
    # and Coull, The American Statistician 52, 1998).
    spread = (scores.double().var(correction=0).item() * count + 1) / (count + 4)
    half = SURE * math.sqrt(spread / (count + 4))
    return {"score": mean, "low": mean - half, "high": mean + half}
