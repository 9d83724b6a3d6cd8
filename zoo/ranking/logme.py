"""LogME: the evidence that a linear model on features has, given the labels, per image.

The weights have a Gaussian prior of precision alpha, the labels Gaussian noise of precision beta;
both are set to what makes the labels most probable, and the weights are integrated out. So nothing
is held out, and a feature that explains nothing costs something. You et al., "LogME: Practical
Assessment of Pre-trained Models for Transfer Learning", ICML 2021; the fixed point of alpha and
beta is MacKay's (Neural Computation 4, 1992), in the coordinates of one SVD for all classes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["logme"]

Array = NDArray[np.float64]
ROUNDS = 200
CLOSE = 1e-8
"""Largest relative change of alpha / beta in a round that ends them."""
LEAST, LARGEST = 1e-10, 1e10
"""Bounds of alpha and beta: labels that are explained without an error have none of their own."""


def logme(features: Array, targets: Array) -> float:
    """The mean over columns of the largest log evidence, divided by the number of images.

    Args:
        features: (N, F), in float64: they are taken as they are.
        targets: (N, K), in float64: a column for each class, 1 where it is the image's, else 0; or
            numbers.
    """
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    strengths = np.square(singular)
    along = left.T @ targets
    beside = np.maximum(np.square(targets).sum(axis=0) - np.square(along).sum(axis=0), 0.0)
    each = [
        _evidence(strengths, np.square(column), rest, *features.shape)
        for column, rest in zip(along.T, beside, strict=True)
    ]
    return float(np.mean(each)) / len(features)


def _evidence(strengths: Array, along: Array, beside: float, images: int, features: int) -> float:
    """The largest log evidence of one column.

    Args:
        strengths: Squared singular values (R,) of the features.
        along: Squared parts (R,) of the column along the left singular vectors.
        beside: The squared length of what is left of it.
        images: N.
        features: F.
    """

    def fitted(alpha: float, beta: float) -> tuple[Array, float, float]:
        shrunk = alpha + beta * strengths
        weights = (beta * beta * strengths * along / np.square(shrunk)).sum()
        return shrunk, weights, beside + (alpha * alpha * along / np.square(shrunk)).sum()

    alpha = beta = 1.0
    for _ in range(ROUNDS):
        shrunk, weights, error = fitted(alpha, beta)
        known = (beta * strengths / shrunk).sum()  # how many features the labels determine
        before = alpha / beta
        alpha = _bounded(known, weights)
        beta = _bounded(images - known, error)
        if abs(alpha / beta - before) <= CLOSE * before:
            break
    shrunk, weights, error = fitted(alpha, beta)
    determinant = np.log(shrunk).sum() + (features - len(strengths)) * math.log(alpha)
    evidence = images * math.log(beta / (2 * math.pi)) + features * math.log(alpha)
    return float(evidence - beta * error - alpha * weights - determinant) / 2


def _bounded(value: float, of: float) -> float:
    return min(max(value / max(of, LEAST * LEAST), LEAST), LARGEST)
