"""Paired: how two networks that were asked about the same images differ, image by image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import lgamma

from zoo.domain.result import Result

__all__ = ["Paired", "mcnemar"]

LEVEL = 0.05
"""Below this p a difference is called one."""
EXACT = 1000
"""Of more images, whole numbers get long; logarithms are right to ten digits."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Paired(Result):
    """How two networks differ, image by image.

    Attributes:
        images: How many both were asked about.
        groups: In how many groups these are, an image alone being one; None where each is alone.
        better: Of how many images (or groups) the first alone is right, or nearer.
        worse: Of how many the other is.
        test: ``mcnemar``, of groups ``sign``, or ``wilcoxon``.
        p: How probable so large a difference is if there is none.
    """

    images: int
    groups: int | None = None  # earlier runs did not know
    better: int
    worse: int
    test: str
    p: float

    @property
    def first_is_better(self) -> bool:
        """Whether the first is better by more than chance explains."""
        return self.p < LEVEL and self.better > self.worse

    def in_words(self, first: str, other: str) -> str:
        """``they differ on 3 of 93 images, p = 0.25: no difference can be seen``."""
        verdict = "no difference can be seen"
        if self.p < LEVEL:
            verdict = f"{first if self.better > self.worse else other} is better"
        of = f"{self.images} images" if self.groups is None else f"{self.groups} groups of images"
        return f"they differ on {self.better + self.worse} of {of}, p = {self.p:.2g}: {verdict}"


def mcnemar(better: int, worse: int) -> float:
    """The p of McNemar's exact test, which is a sign test of groups: how often so many of the
    images where one alone is right would be one's, if both were as good.
    """
    differ, few = better + worse, min(better, worse)
    if better == worse:
        return 1.0
    if differ <= EXACT:
        return float(2 * sum(math.comb(differ, count) for count in range(few + 1)) / 2**differ)
    logs = (
        lgamma(differ + 1) - lgamma(count + 1) - lgamma(differ - count + 1) - differ * math.log(2)
        for count in range(few + 1)
    )
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))
