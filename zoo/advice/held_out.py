"""Cross-validation of probes: what a probe says of images that it was not fitted on.

C is chosen for each fold by the images of the other folds, so that what a fold is scored by chose
nothing, and every fit serves both (Varma and Simon, BMC Bioinformatics 7:91, 2006, show what a
score is worth that chose its own C).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from zoo.domain.task import Task
from zoo.finetune.strategies.linear import CS, PATIENCE, Fitter, folds, goodness, kind_for, loss_of

__all__ = ["FOLDS", "HeldOut", "held_out", "part_folds"]

FOLDS = 5
ENOUGH = 300
"""Images from which one division into folds tells enough; fewer are divided several times, each
time otherwise, so that chance in the division averages out (Kim, CSDA 53, 2009: repeated
cross-validation)."""
MOST_REPEATS = 3

Fold = tuple[Tensor, Tensor]
"""Rows to fit on, rows to score."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What probes say of each image, none of which was fitted on it.

    Attributes:
        outputs: Logits or numbers (N, K), float32, of the first division into folds.
        scores: `goodness` (N,) of each image, the mean over all divisions.
        c: The C that does best over all images.
    """

    outputs: Tensor
    scores: Tensor
    c: float


def part_folds(targets: Tensor, seed: int, groups: Sequence[str] = ()) -> list[list[Fold]]:
    """Divisions of N images into folds: classes spread evenly, groups whole; several of few."""
    repeats = min(MOST_REPEATS, -(-ENOUGH // max(len(targets), 1)))
    return [folds(targets, FOLDS, seed + times, groups) for times in range(repeats)]


def held_out(
    features: Tensor,
    targets: Tensor,
    *,
    task: Task,
    divisions: Sequence[Sequence[Fold]],
    parts: Sequence[int] = (),
) -> HeldOut:
    """Fit probes on features float32 (N, F) and targets of `divisions`, and score what is left out.

    Targets and ``parts`` are as `zoo.finetune.strategies.probe.fit_probe` has them.
    """
    # Fits of some hundred images: two threads take longer than one, as each waits for the other.
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        divided = [_divided(features, targets, task, each, parts) for each in divisions]
    said, better = zip(*divided, strict=True)
    scores = torch.stack([goodness(outputs, targets, task) for outputs in said]).mean(dim=0)
    return HeldOut(said[0], scores, sorted(better)[len(better) // 2])


def _divided(
    features: Tensor,
    targets: Tensor,
    task: Task,
    division: Sequence[Fold],
    parts: Sequence[int],
) -> tuple[Tensor, float]:
    """The outputs (N, K) of one division into folds, and the best C over all of it."""
    kind = kind_for(task, "softmax")
    count = targets.shape[1] if targets.dim() > 1 else int(targets.max()) + 1
    paths = [
        Fitter(kind, features[fitted], targets[fitted], count, parts=parts)
        for fitted, _ in division
    ]
    outputs: dict[float, Tensor] = {}
    ranks: dict[float, tuple[float, float]] = {}
    for c in CS:
        outputs[c] = torch.empty(len(targets), count)
        for path, (_, left) in zip(paths, division, strict=True):
            outputs[c][left] = nn.functional.linear(features[left], *path.fit(c))
        ranks[c] = _rank(outputs[c], targets, task)
        if len(ranks) - 1 - list(ranks).index(_best(ranks)) >= PATIENCE:
            break
    said = torch.empty_like(outputs[CS[0]])
    for fitted, left in division:
        by_others = {c: _rank(each[fitted], targets[fitted], task) for c, each in outputs.items()}
        said[left] = outputs[_best(by_others)][left]
    return said, _best(ranks)


def _rank(outputs: Tensor, targets: Tensor, task: Task) -> tuple[float, float]:
    """The score, and of equal ones the smaller loss."""
    kind = kind_for(task, "softmax")
    return goodness(outputs, targets, task).mean().item(), -loss_of(outputs, targets, kind)


def _best(ranks: dict[float, tuple[float, float]]) -> float:
    return max(ranks, key=lambda c: ranks[c])
