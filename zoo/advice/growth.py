"""Growth: what a probe reaches with fewer of the images, and what more of them would bring.

The error of a classifier falls as a power of the number of images (Hestness et al., 2017, "Deep
Learning Scaling is Predictable, Empirically"; Cortes et al., NIPS 1993). The curve is fitted to
parts of the images that are here, and drawn on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from zoo.advice.held_out import FOLDS, Features
from zoo.advice.threads import one_thread
from zoo.domain.result import Result
from zoo.finetune.results.goodness import goodness
from zoo.finetune.strategies.linear import Fitter, folds, kind_for

__all__ = ["MORE", "Growth", "Size", "grow"]

QUARTERS = 4
LEAST_SIZES = 3
MORE = 100
"""Images that a user may think of adding."""
DRAWS = 1000
ENDS = (2.5, 97.5)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Size(Result):
    """What a probe reaches with so many images.

    Attributes:
        images: How many it is fitted on.
        score: Mean `goodness` of images that it was not fitted on.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    images: int
    score: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Growth(Result):
    """The learning curve of a probe.

    Attributes:
        sizes: A quarter, a half, three quarters and all of the images that a fold is fitted on.
        exponent: c in ``error = b * images ** -c``.
        more: Images to add.
        brings: What these would add to the score of all images, by the fitted curve.
        low: Lower end of the 95 % interval of that.
        high: Upper end.
    """

    sizes: tuple[Size, ...]
    exponent: float
    more: int
    brings: float
    low: float
    high: float


def grow(features: Features, c: float, seed: int) -> Growth | None:
    """Fit probes on parts of the images, and a power law to what they reach.

    ``c`` is that of a probe on all of them. None where groups leave fewer than three sizes.
    """
    with one_thread():
        counts, scores, fold = _by_size(features, c, seed)
    if len(counts) < LEAST_SIZES:
        return None
    images = scores.shape[1]
    exponent, brings = _extrapolate(counts, scores.mean(axis=1), images)
    rng, means, gains = np.random.default_rng(seed), [], []
    for rows in _bootstrap(fold, rng):
        means.append(scores[:, rows].mean(axis=1))
        # Without one of the sizes: how far the curve is one at all.
        kept = np.arange(len(counts)) != rng.integers(len(counts))
        gains.append(_extrapolate(counts[kept], means[-1][kept], images)[1])
    lows, highs = np.percentile(means, ENDS, axis=0)
    low, high = np.percentile(gains, ENDS)
    columns = zip(counts, scores.mean(axis=1), lows, highs, strict=True)
    return Growth(
        sizes=tuple(
            Size(images=round(count), score=float(score), low=float(one), high=float(other))
            for count, score, one, other in columns
        ),
        exponent=exponent,
        more=MORE,
        brings=brings,
        low=float(low),
        high=float(high),
    )


def _by_size(
    features: Features, c: float, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Mean numbers of images (S,) that were fitted on, the scores (S, N) of each image, and the
    fold (N,) that it was held out with.
    """
    targets, task = features.targets, features.task
    values = features.values.to(features.device)
    kind = kind_for(task, "softmax")
    scores, sizes = np.zeros((QUARTERS, len(targets))), np.zeros(QUARTERS)
    fold, least = np.zeros(len(targets), np.int64), QUARTERS
    divisions = folds(targets, FOLDS, seed, features.groups)
    for number, (fitted, left) in enumerate(divisions):
        fold[left.numpy()] = number
        among = [features.groups[row] for row in fitted.tolist()] if features.groups else ()
        quarters = [quarter for _, quarter in folds(targets[fitted], QUARTERS, seed, among)]
        # Of fewer groups than quarters no nested parts can be made. Who has no name is alone.
        few = among and len({name or row for row, name in enumerate(among)}) < QUARTERS
        least = 0 if few else min(least, len(quarters))
        for at in range(len(quarters)):
            rows = fitted[torch.cat(quarters[: at + 1])]
            path = Fitter(kind, values[rows], targets[rows], features.outputs, parts=features.parts)
            logits = nn.functional.linear(features.values[left], *path.fit(c))
            scores[at, left.numpy()] = goodness(logits, targets[left], task).numpy()
            sizes[at] += len(rows) / len(divisions)
    return sizes[:least], scores[:least], fold


def _bootstrap(fold: NDArray[np.int64], rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Rows drawn with replacement: folds, which were fitted on other images each, then images."""
    members = [np.flatnonzero(fold == number) for number in range(int(fold.max()) + 1)]
    for _ in range(DRAWS):
        chosen = [members[number] for number in rng.integers(0, len(members), len(members))]
        yield np.concatenate([rng.choice(rows, len(rows)) for rows in chosen])


def _extrapolate(
    counts: NDArray[np.float64], scores: NDArray[np.float64], images: int
) -> tuple[float, float]:
    """The exponent, and what `MORE` images bring to so many, for the scores (S,) of the sizes."""
    errors, steps = np.log(np.maximum(1 - scores, 0.5 / images)), np.log(counts)
    weights = counts / counts.sum()  # larger ones are nearer to what is asked
    middle, level = weights @ steps, weights @ errors
    apart = steps - middle
    slope = min(float((weights * apart) @ errors / ((weights * apart) @ apart)), 0.0)
    now, then = (math.exp(level + slope * (math.log(n) - middle)) for n in (images, images + MORE))
    return -slope, now - then
