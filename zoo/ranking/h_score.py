"""H-score: how much of the variance of features lies between classes, along each of their axes.

It is the trace of inverse covariance of the features times covariance of the class means (Bao et
al., ICIP 2019). With fewer images than features that inverse means nothing, so the covariance is
shrunk as Ledoit and Wolf do (Ibrahim, Ponomareva and Mazumder, "Newer is not always better:
Rethinking transferability metrics", 2021). It is between 0 and one less than there are classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage

__all__ = ["h_score"]

Array = NDArray[np.float64]


def h_score(features: Array, targets: NDArray[np.int64]) -> float:
    """The H-score of features (N, F), in float64, of images of the classes ``targets`` (N,)."""
    centered = features - features.mean(axis=0)
    total = float(np.square(centered).sum()) / len(features)
    if not total:
        return 0.0  # features that do not move at all
    shrinkage = float(ledoit_wolf_shrinkage(centered, assume_centered=True))
    # Class means are where the images are, so that the axes which these span are all that is asked.
    _, singular, axes = np.linalg.svd(centered, full_matrices=False)
    variances = np.square(singular) / len(features)
    shrunk = (1 - shrinkage) * variances + shrinkage * total / features.shape[1]
    spanned = variances > variances[0] * np.finfo(np.float64).eps * len(features)
    between = np.zeros(len(singular))
    for label in np.unique(targets):
        own = targets == label
        between += np.square(axes @ centered[own].mean(axis=0)) * own.mean()
    return float((1 - shrinkage) * (between[spanned] / shrunk[spanned]).sum())
