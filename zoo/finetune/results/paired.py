"""Whether one of two networks is better: a paired test, over the images that both were asked about.

Classes have McNemar's exact test, which looks at the images where one alone is right; labels and
numbers Wilcoxon's signed ranks of their errors by image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, wilcoxon

from zoo.domain.result import Result
from zoo.finetune.results.report import Measured

__all__ = ["Paired", "paired"]

LEVEL = 0.05
"""Below this p a difference is called one."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Paired(Result):
    """How two networks differ, image by image.

    Attributes:
        images: How many both were asked about.
        better: Of how many of these the first alone is right, or nearer.
        worse: Of how many the other is.
        test: ``mcnemar`` or ``wilcoxon``.
        p: How probable so large a difference is if there is none.
    """

    images: int
    better: int
    worse: int
    test: str
    p: float

    def in_words(self, first: str, other: str) -> str:
        """``3 of 93 images apart, p = 0.25: no difference can be seen``; after their names."""
        found = "no difference can be seen"
        if self.p < LEVEL:
            found = f"{first if self.better > self.worse else other} is better"
        return (
            f"{self.better + self.worse} of {self.images} images apart, p = {self.p:.2g}: {found}"
        )


def paired(first: Measured, other: Measured) -> Paired:
    """Compare two networks of one task; without an image in common, none are apart."""
    names = {*first.classes} & {*other.classes}
    one, two = _errors(first, names), _errors(other, names)
    difference = np.array([one[key] - two[key] for key in one if key in two], np.float64)
    better, worse = int((difference < 0).sum()), int((difference > 0).sum())
    classes, p = first.task == "classification", 1.0
    if better + worse:
        test = binomtest(better, better + worse) if classes else wilcoxon(difference)
        p = float(test.pvalue)
    return Paired(
        images=len(difference),
        better=better,
        worse=worse,
        test="mcnemar" if classes else "wilcoxon",
        p=p,
    )


def _errors(measured: Measured, names: set[str]) -> Mapping[str, float]:
    """By image: 1 if its class is wrong; the share of wrong labels; the mean error of numbers."""
    outputs, targets = measured.outputs, measured.targets
    if measured.task == "classification":
        wrong = outputs.argmax(dim=1) != targets
        return dict(zip(measured.images, wrong.double().tolist(), strict=True))
    chosen = [at for at, name in enumerate(measured.classes) if name in names]
    if not chosen:
        return {}
    outputs, targets = outputs[:, chosen].double(), targets[:, chosen].double()
    errors = (outputs - targets).abs()
    if measured.task == "multi-label":
        errors = ((outputs > 0) != (targets > 0.5)).double()
    return dict(zip(measured.images, errors.mean(dim=1).tolist(), strict=True))
