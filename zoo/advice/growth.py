"""Growth: what a probe reaches with fewer of the images, and what more of them would bring.

The error of a classifier falls as a power of the number of images (Hestness et al., 2017, "Deep
Learning Scaling is Predictable, Empirically"; Cortes et al., NIPS 1993). The curve is fitted to
parts of the images that are here, and drawn on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.advice.held_out import FOLDS
from zoo.domain.result import Result
from zoo.domain.task import Task
from zoo.finetune.strategies.linear import Fitter, folds, goodness, kind_for

__all__ = ["Growth", "Size", "grow"]

QUARTERS = 4
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


def grow(
    features: Tensor,
    targets: Tensor,
    *,
    task: Task,
    c: float,
    parts: Sequence[int] = (),
    groups: Sequence[str] = (),
    seed: int = 0,
    more: int = MORE,
) -> Growth:
    """Fit probes on parts of the images, and a power law to what they reach.

    Features are float32 (N, F), targets and ``parts`` as `fit_probe` has them, ``c`` is that of a
    probe on all of them.
    """
    counts, scores, fold = _by_size(features, targets, task, c, parts, groups, seed)
    exponent, gained = _extrapolate(counts, scores.mean(axis=1)[None], len(targets), more)
    rng, means, gains = np.random.default_rng(seed), [], []
    for drawn in _drawn(fold, rng):
        means.append(scores[:, drawn].mean(axis=1))
        # Without one of the sizes: how far the curve is one at all.
        kept = np.arange(len(counts)) != rng.integers(len(counts))
        _, brings = _extrapolate(counts[kept], means[-1][None, kept], len(targets), more)
        gains.append(brings[0])
    lows, highs = np.percentile(means, ENDS, axis=0)
    low, high = np.percentile(gains, ENDS)
    return Growth(
        sizes=tuple(
            Size(images=round(count), score=float(score), low=float(one), high=float(other))
            for count, score, one, other in zip(
                counts, scores.mean(axis=1), lows, highs, strict=True
            )
        ),
        exponent=float(exponent[0]),
        more=more,
        brings=float(gained[0]),
        low=float(low),
        high=float(high),
    )


def _by_size(
    features: Tensor,
    targets: Tensor,
    task: Task,
    c: float,
    parts: Sequence[int],
    groups: Sequence[str],
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Mean numbers of images (S,) that were fitted on, the scores (S, N) of each image, and the
    fold (N,) that it was held out with.
    """
    kind = kind_for(task, "softmax")
    count = targets.shape[1] if targets.dim() > 1 else int(targets.max()) + 1
    scores, sizes = np.zeros((QUARTERS, len(targets))), np.zeros(QUARTERS)
    fold = np.zeros(len(targets), np.int64)
    divisions = folds(targets, FOLDS, seed, groups)
    for number, (fitted, left) in enumerate(divisions):
        fold[left.numpy()] = number
        among = [groups[row] for row in fitted.tolist()] if groups else ()
        quarters = [quarter for _, quarter in folds(targets[fitted], QUARTERS, seed, among)]
        for at in range(len(quarters)):
            rows = fitted[torch.cat(quarters[: at + 1])]
            weight, bias = Fitter(kind, features[rows], targets[rows], count, parts=parts).fit(c)
            said = nn.functional.linear(features[left], weight, bias)
            scores[at, left.numpy()] = goodness(said, targets[left], task).numpy()
            sizes[at] += len(rows) / len(divisions)
    return sizes, scores, fold


def _drawn(fold: NDArray[np.int64], rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Rows drawn with replacement: folds, which were fitted on other images each, then images."""
    members = [np.flatnonzero(fold == number) for number in range(int(fold.max()) + 1)]
    for _ in range(DRAWS):
        chosen = [members[number] for number in rng.integers(0, len(members), len(members))]
        yield np.concatenate([rng.choice(rows, len(rows)) for rows in chosen])


def _extrapolate(
    counts: NDArray[np.float64], scores: NDArray[np.float64], images: int, more: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The exponents (B,), and what ``more`` images bring (B,), for scores (B, S) of the sizes."""
    errors = np.log(np.maximum(1 - scores, 0.5 / images))
    steps = np.log(counts)
    weights = counts / counts.sum()  # larger ones are nearer to what is asked
    steps = steps - weights @ steps
    slope = np.minimum((errors * weights * steps).sum(axis=1) / (weights * steps**2).sum(), 0.0)
    level = errors @ weights
    middle = weights @ np.log(counts)
    now, then = (np.exp(level + slope * (np.log(n) - middle)) for n in (images, images + more))
    return -slope, now - then
