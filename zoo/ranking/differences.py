"""Between which networks a difference can be seen: paired, image by image.

Two networks were asked about the same images. What one is better by is the mean of the differences,
and the error of that mean is smaller than those of the two scores, as both find the same images
hard. All pairs are tested, as it is not known before which of them will be the best, and Holm's
step-down procedure (Scandinavian Journal of Statistics 6, 1979) keeps the chance that any pair is
called different by luck below 5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from scipy.stats import norm
from torch import Tensor

from zoo.advice.depths import error_of_mean, independent

__all__ = ["LEVEL", "apart"]

LEVEL = 0.05


def apart(scores: Sequence[Tensor], groups: Sequence[str] = ()) -> set[tuple[int, int]]:
    """The pairs of networks, the better one first, that are seen to differ.

    Args:
        scores: How well each network tells each image (N,), the same images in the same order.
        groups: Of each image; those of one count as far as they differ. Empty: each is alone.
    """
    tested = []
    for one, other in combinations(range(len(scores)), 2):
        difference = (scores[one] - scores[other]).double()
        error = error_of_mean(difference, independent(difference, groups))
        mean = difference.mean().item()
        better = (one, other) if mean > 0 else (other, one)
        tested.append((2 * float(norm.sf(abs(mean) / error)), better))
    found = set[tuple[int, int]]()
    for at, (p, pair) in enumerate(sorted(tested)):
        if p > LEVEL / (len(tested) - at):
            break
        found.add(pair)
    return found
