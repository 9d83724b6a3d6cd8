"""Unlike: how far the features of an image are from those of the training images.

The distance is that of Mahalanobis to the nearest class (Lee et al., "A Simple Unified Framework
for Detecting Out-of-Distribution Samples", NeurIPS 2018), of features of length 1, with one
covariance for all classes. That is told apart along the directions in which the features of the
training images differ most; along all others they are taken to spread alike, as in probabilistic
principal components. So it is small, and it holds means of images, and no image's features.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from zoo.domain.calibration import Typical
from zoo.errors import InvalidManifest

__all__ = ["Nearness", "describe"]

Array = NDArray[np.float64]

RANK = 32
"""Directions at most. Of 16 to 128, 16 and 32 told images of other sets apart best (ADR 62)."""
FEW = 4
"""Images for each direction at least: with fewer, what is left over is of nothing."""
NUMBERS = 200_000
"""Of all arrays at most: more classes or features than that are not described."""
ALIKE = 1e-9
"""The variance of features of length 1 that is but rounding."""
RIDGE = 1e-3
"""What is added to the covariance, as a share of its mean variance."""
FARTHEST = 1e9
KEPT = 0.95
"""The share of the validation images that are within the limit."""


class Nearness:
    """Tells how far features are, by what is kept of the training images."""

    def __init__(self, typical: Typical) -> None:
        """Raises `InvalidManifest` where an array has a number that is none."""
        self.typical = typical
        raw = typical.arrays()
        shape: dict[str, tuple[int, ...]] = {"mean": (-1,), "basis": (typical.features, -1)}
        shape |= {"whitening": (typical.rank, -1), "places": (typical.centers, -1)}
        kinds = {"mean": "<f2", "basis": "<f2", "whitening": "<f4", "places": "<f4"}
        parts = {
            name: np.frombuffer(raw[name], kind).reshape(shape[name]).astype(np.float64)
            for name, kind in kinds.items()
        }
        if not all(np.isfinite(each).all() for each in parts.values()):
            raise InvalidManifest("not a calibration: it has numbers that are NaN or infinite")
        self._parts = parts

    def distances(self, features: NDArray[Any]) -> Array:
        """How far each (N, F) is (N,), in units of the limit: above 1 it is unlike the training
        images. `FARTHEST` at most, also where features are no finite numbers.
        """
        with np.errstate(all="ignore"):
            squares = _squares(features, self._parts, self.typical.rest)
        distances = np.sqrt(squares) / self.typical.limit
        return np.where(distances < FARTHEST, distances, FARTHEST)


def describe(
    features: NDArray[Any], labels: NDArray[np.int64], others: NDArray[Any]
) -> Typical | str:
    """What training images are like, by their features (N, F) and the indices of their classes
    (N,), or zeros where there are none; a class without an image among them has no center. The
    limit is of the features of ``others`` (M, F), which are the validation images. Or why that
    cannot be said.
    """
    count, width = features.shape
    classes, labels = np.unique(labels, return_inverse=True)
    centers = len(classes)
    rank = min(RANK, count // FEW, width)
    least = ceil(KEPT / (1 - KEPT))
    if len(others) < least:
        return f"that takes {least} validation images"
    if not rank or not (np.isfinite(features).all() and np.isfinite(others).all()):
        return "the features of the training images do not tell"
    if width * rank + centers * rank > NUMBERS:
        return f"{centers:,} classes and {width:,} features are too many to be kept"
    known = _unit(features)
    if np.square(known - known.mean(axis=0)).sum(axis=1).mean() < ALIKE:
        return "the features of the training images do not differ"
    parts, rest = _parts_of(known, labels, centers, rank)
    kept = np.sort(np.sqrt(_squares(others, parts, rest)))[ceil(KEPT * (len(others) + 1)) - 1]
    if not 1e-30 < kept < 1e30:
        return "the features of the validation images are none that can be told apart"
    coded = {
        name: binascii.b2a_base64(
            part.astype("<f2" if name in ("mean", "basis") else "<f4").tobytes(), newline=False
        ).decode()
        for name, part in parts.items()
    }
    return Typical(
        features=width, rank=rank, centers=centers, rest=rest, limit=float(kept), **coded
    )


def _parts_of(
    features: Array, labels: NDArray[np.int64], centers: int, rank: int
) -> tuple[dict[str, Array], float]:
    """The arrays of a `Typical`, in the precision that they are kept in, and its rest."""
    mean = features.mean(axis=0).astype("<f2").astype(np.float64)
    about = features - mean
    basis = _directions(about, rank).astype("<f2").astype(np.float64)
    there = about @ basis
    counts = np.bincount(labels)
    sums = np.zeros((centers, rank))
    np.add.at(sums, labels, there)
    means = sums / counts[:, None]
    within = there - means[labels]
    spread = within.T @ within / len(within)
    spread += (RIDGE * np.trace(spread) / rank + 1e-12) * np.eye(rank)
    whitening = np.linalg.inv(np.linalg.cholesky(spread)).T.astype("<f4").astype(np.float64)
    left = np.square(about).sum(axis=1) - np.square(there).sum(axis=1)
    rest = max(float(np.maximum(left, 0).mean()) / max(features.shape[1] - rank, 1), 1e-12)
    places = (means @ whitening).astype("<f4").astype(np.float64)
    return {"mean": mean, "basis": basis, "whitening": whitening, "places": places}, rest


def _directions(about: Array, rank: int) -> Array:
    """The directions (F, R) in which features differ most, of length 1."""
    count, width = about.shape
    wide = width > count  # the smaller of the two products tells them
    product = about @ about.T if wide else about.T @ about
    last = len(product) - 1
    _, vectors = eigh(product, subset_by_index=[last - rank + 1, last])
    directions = about.T @ vectors if wide else vectors
    unit: Array = directions / np.maximum(np.linalg.norm(directions, axis=0), 1e-30)
    return unit


def _squares(features: NDArray[Any], parts: Mapping[str, Array], rest: float) -> Array:
    """The squared distance of each (N, F) to the nearest center."""
    about = _unit(features) - parts["mean"]
    there = about @ parts["basis"]
    left = np.maximum(np.square(about).sum(axis=1) - np.square(there).sum(axis=1), 0)
    white = there @ parts["whitening"]
    near = np.array([np.square(parts["places"] - each).sum(axis=1).min() for each in white])
    squares: Array = near.reshape(-1) + left / rest
    return squares


def _unit(features: NDArray[Any]) -> Array:
    wide = features.astype(np.float64)
    unit: Array = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return unit
