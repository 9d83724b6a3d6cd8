"""Cross-validation of probes: what a probe says of images that it was not fitted on.

The C of each fold is the one that does best on the other folds. So a fold does not choose its own
C, but for the little that fits on it add to the scores of the others; and every fit serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zoo.advice.threads import one_thread
from zoo.domain.task import Task
from zoo.finetune.results.goodness import goodness
from zoo.finetune.strategies.linear import (
    Rank,
    along_c,
    folds,
    kind_for,
    rank_of,
    splits,
)

__all__ = ["FOLDS", "Features", "HeldOut", "held_out"]

FOLDS = 5
ENOUGH = 300
"""Images from which one division into folds tells enough; fewer are divided several times, each
time otherwise, so that chance in the division averages out (Kim, CSDA 53, 2009: repeated
cross-validation)."""
MOST_REPEATS = 3
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Features of images, and what the images are.

    Attributes:
        values: float32 (N, F).
        targets: Class indices (N,) from 0 with none left out, labels in 0..1 (N, K), or numbers
            (N, K).
        task: What the targets are.
        parts: How many features each depth has, where those of several are beside each other.
        groups: Of each image; those of one stay in one fold. Empty: there are none.
        device: Where probes are fitted on them, if these are large enough (`gpu_for`).
    """

    values: Tensor
    targets: Tensor
    task: Task
    parts: Sequence[int] = ()
    groups: Sequence[str] = ()
    device: torch.device = CPU

    @property
    def outputs(self) -> int:
        """How many a probe has."""
        return self.targets.shape[1] if self.targets.dim() > 1 else int(self.targets.max()) + 1


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The scores of probes on each image, none of which was fitted on it.

    Attributes:
        scores: `goodness` (N,) of each image, the mean over all divisions into folds.
        c: The C that does best over all images.
    """

    scores: Tensor
    c: float


def held_out(features: Features, seed: int) -> HeldOut:
    """Fit probes with each fold left out in turn, and score what is left out.

    Few images are divided into folds several times. Classes are spread evenly, groups are whole.
    """
    repeats = min(MOST_REPEATS, -(-ENOUGH // len(features.values)))
    features = replace(features, values=features.values.to(features.device))
    with one_thread():
        each = [_divided(features, seed + times) for times in range(repeats)]
    scores, best = zip(*each, strict=True)
    return HeldOut(torch.stack(scores).mean(dim=0), sorted(best)[len(best) // 2])


def _divided(features: Features, seed: int) -> tuple[Tensor, float]:
    """The scores (N,) of one division into folds, and the best C over all of it."""
    task, targets = features.task, features.targets
    kind = kind_for(task, "softmax")
    division = folds(targets, FOLDS, seed, features.groups)
    parts = splits(features.values, targets, division)
    by_c = along_c(kind, task, parts, features.outputs, features.parts)
    scores = torch.empty(len(targets))
    for at, (_, left) in enumerate(division):
        others = [number for number in range(len(division)) if number != at]
        by_others: dict[float, Rank] = {
            c: rank_of([(each[n], parts[n][1][1]) for n in others], kind, task)
            for c, (each, _) in by_c.items()
        }
        own = by_c[max(by_others, key=lambda c: by_others[c])][0][at]
        scores[left] = goodness(own, targets[left], task)
    return scores, max(by_c, key=lambda c: by_c[c][1])
