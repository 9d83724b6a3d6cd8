"""Labels that the images contradict, and whether anything can be learned at all.

A classifier is fitted on some images and asked about the others, in turn, so that each image is
judged by one that has not seen its label. What it thinks of an image's own label is the image's
*self-confidence*: a label is doubted where that is next to nothing. Confident learning (Northcutt,
Jiang and Chuang, JAIR 2021; the library cleanlab) counts first how many labels are wrong. Where
errors were planted it found fewer of them (docs/adr/0040-suspects.md).

The classifier is least squares on the principal components of all depths. It is fitted in closed
form, in seconds for 50,000 images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.finetune.strategies.linear import folds

__all__ = ["agreement", "doubts", "out_of_fold"]

LITTLE = 0.05
"""The probability of an image's own label below which that is doubted, where classes are told apart
perfectly."""
UNSURE = 2.0
"""How many times as much is added to that, for each whole that labels lack in the mean: where
classes are hardly told apart a wrong label, too, gets some of the probability."""
ANOTHER = 0.1
"""The least probability of the class that it looks like instead: of a thousand classes that are
hardly told apart each has next to nothing."""
FOLDS = 5
RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Weights of small coefficients that are tried, for one image."""
SHARPNESS = (1, 2, 4, 6, 8, 12, 16, 24, 32)
"""What outputs are multiplied by to be logits; the one is taken that predicts best."""


def out_of_fold(vectors: Tensor, targets: Tensor, groups: Sequence[str], seed: int) -> Tensor:
    """The probabilities (N, K) of each image's classes, by a classifier that has not seen it.

    Args:
        vectors: Principal components (N, C).
        targets: Class indices (N,).
        groups: Of each image; those of one stay in one fold.
        seed: Of the folds.
    """
    truth = nn.functional.one_hot(targets).to(vectors.dtype)
    outputs = torch.zeros(len(RIDGES), *truth.shape)
    for fitted, asked in folds(targets, FOLDS, seed, groups):
        values, mean = vectors[fitted], truth[fitted].mean(dim=0)
        strength, axes = torch.linalg.eigh(values.T @ values)
        along = axes.T @ (values.T @ (truth[fitted] - mean))
        for at, ridge in enumerate(RIDGES):
            weight = axes @ (along / (strength.clamp(min=0) + ridge * len(fitted))[:, None])
            outputs[at, asked] = vectors[asked] @ weight + mean
    right = (outputs.argmax(dim=2) == targets).float().mean(dim=1)
    best = outputs[int(right.argmax())]
    losses = [nn.functional.cross_entropy(best * sharp, targets).item() for sharp in SHARPNESS]
    return (best * SHARPNESS[losses.index(min(losses))]).softmax(dim=1)


def doubts(probabilities: Tensor, targets: Tensor) -> list[int]:
    """The images whose labels are doubted, the most doubtful first."""
    own = probabilities.gather(1, targets[:, None])[:, 0]
    likeliest, other = probabilities.max(dim=1)
    little = LITTLE * (1 + UNSURE * (1 - own.mean()))
    doubted = (own < little) & (likeliest >= ANOTHER) & (other != targets)
    return [at for at in own.argsort(stable=True).tolist() if doubted[at]]


def agreement(predicted: Tensor, targets: Tensor) -> tuple[float, float]:
    """The share of images that a guess with the same shares of classes would get right, and by how
    many standard errors ``predicted`` (N,) gets more right than that.

    It is the test of Cohen's kappa against 0 (Fleiss, Cohen and Everitt, 1969). It holds where one
    class has most images, too: always to say that one is no knowledge.
    """
    classes = int(max(predicted.max(), targets.max())) + 1
    shares, guessed = (
        torch.bincount(each, minlength=classes).double() / len(each)
        for each in (targets, predicted)
    )
    chance = float((shares * guessed).sum())
    spread = chance + chance**2 - float((shares * guessed * (shares + guessed)).sum())
    right = float((predicted == targets).double().mean())
    if spread <= 0:  # one class only is said: nothing is known
        return chance, 0.0
    return chance, (right - chance) / math.sqrt(spread / len(predicted))
