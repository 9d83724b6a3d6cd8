"""Between which networks a difference can be seen: paired, image by image.

Two networks were asked about the same images. What one is better by is the mean of the differences,
and the error of that mean is smaller than those of the two scores, as both find the same images
hard. All pairs are tested, as it is not known before which of them will be the best, and Holm's
step-down procedure (Scandinavian Journal of Statistics 6, 1979) keeps the chance that any pair is
called different by luck below 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, compress

import torch
from scipy.stats import norm
from torch import Tensor

from zoo.advice.depths import error_of_mean
from zoo.finetune.results.interval import independent

__all__ = ["LEVEL", "level", "paired_error", "significant_pairs"]

LEVEL = 0.05


def significant_pairs(scores: Sequence[Tensor], groups: Sequence[str] = ()) -> set[tuple[int, int]]:
    """The pairs of networks, the better one first, that are seen to differ.

    Args:
        scores: Of each image (N,) by each network, the same images in the same order; NaN where a
            network was not asked. A pair is compared by the images of both.
        groups: Of each image; alike scores in one group count once. Empty: each is alone.
    """
    tested = []
    for one, other in combinations(range(len(scores)), 2):
        difference = (scores[one] - scores[other]).double()
        of_both = difference.isfinite()
        difference = difference[of_both]
        own = list(compress(groups, of_both.tolist()))
        error = error_of_mean(difference, independent(difference, own))
        mean = difference.mean().item()
        better = (one, other) if mean > 0 else (other, one)
        tested.append((2 * float(norm.sf(abs(mean) / error)), better))
    pairs = set[tuple[int, int]]()
    for at, (p, pair) in enumerate(sorted(tested)):
        if p > LEVEL / (len(tested) - at):
            break
        pairs.add(pair)
    return pairs


def level(scores: Sequence[Tensor], groups: Sequence[str]) -> tuple[list[float], list[bool]]:
    """The mean of each network's ``scores``, and whether it is within one standard error of their
    difference of the best one; over the images that all were asked.

    The arguments are those of `significant_pairs`.
    """
    of_all = torch.stack(list(scores)).isfinite().all(dim=0)
    own = list(compress(groups, of_all.tolist()))
    kept = [one[of_all].double() for one in scores]
    means = [one.mean().item() for one in kept]
    best = kept[means.index(max(means))]
    behind = [best - one for one in kept]
    return means, [
        each.mean().item() <= error_of_mean(each, independent(each, own)) for each in behind
    ]


def paired_error(scores: Sequence[Tensor], groups: Sequence[str] = ()) -> float:
    """The standard error of the mean of ``scores``, as far as the networks do not share it: that
    all of them find the same images hard says nothing about their differences.

    The arguments are those of `significant_pairs`. 0 for one network.
    """
    if len(scores) < 2:
        return 0.0
    each = torch.stack(list(scores)).double()
    own = each - each.mean(dim=0)
    squares = [error_of_mean(row, independent(row, groups)) ** 2 for row in own]
    # The mean of an image has a part of each network's own error, so that less is left of it.
    return math.sqrt(sum(squares) / (len(own) - 1))
