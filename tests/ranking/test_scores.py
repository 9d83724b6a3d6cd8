"""LogME, H-score and kNN: against what their definitions say, computed another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.covariance import ledoit_wolf

from zoo.ranking.h_score import h_score
from zoo.ranking.knn import neighbors_know
from zoo.ranking.logme import logme

Array = NDArray[np.float64]
SHAPES = ((30, 5), (12, 40), (20, 20))


def drawn(
    images: int, features: int, apart: float = 1.0, seed: int = 0
) -> tuple[Array, NDArray[np.int64]]:
    """Features of three classes, whose means are ``apart``."""
    chance = np.random.default_rng(seed)
    targets = np.arange(images) % 3
    return chance.normal(size=(images, features)) + apart * np.eye(3, features)[targets], targets


def turned(features: Array) -> Array:
    """The same in another orthonormal basis."""
    count = features.shape[1]
    basis = np.linalg.qr(np.random.default_rng(9).normal(size=(count, count)))[0]
    return np.asarray(features @ basis)


def evidence(features: Array, column: Array) -> float:
    """The largest log evidence, by looking for it: labels are Gaussian around zero with the
    covariance that noise and the weights' prior give them.
    """
    images = len(column)

    def negative(logs: Array) -> float:
        alpha, beta = np.exp(logs)
        covariance = np.eye(images) / beta + features @ features.T / alpha
        determinant = np.linalg.slogdet(covariance)[1]
        likely = column @ np.linalg.solve(covariance, column)
        return float(images * np.log(2 * np.pi) + determinant + likely) / 2

    tried = [minimize(negative, start, method="Nelder-Mead").fun for start in ([0, 0], [3, 1])]
    return float(-min(tried)) / images


@pytest.mark.parametrize(("images", "features"), SHAPES)
def test_logme_is_the_largest_evidence(images: int, features: int) -> None:
    values, targets = drawn(images, features)
    columns = np.eye(3)[targets]
    by_hand = np.mean([evidence(values, column) for column in columns.T])
    assert logme(values, columns) == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize(("images", "features"), SHAPES)
def test_scores_see_neither_basis_nor_order_nor_scale(images: int, features: int) -> None:
    values, targets = drawn(images, features)
    order = np.random.default_rng(1).permutation(images)

    def scores(values: Array, targets: NDArray[np.int64]) -> tuple[float, float]:
        return logme(values, np.eye(3)[targets]), h_score(values, targets)

    usual = scores(values, targets)
    for changed in (turned(values), 7 * values):
        assert scores(changed, targets) == pytest.approx(usual, abs=1e-6)
    assert scores(values[order], targets[order]) == pytest.approx(usual, abs=1e-6)
    assert scores(values, (targets + 1) % 3) == pytest.approx(usual, abs=1e-6)


def test_scores_rise_with_what_features_know() -> None:
    found = []
    for apart in (0.0, 1.0, 3.0):
        values, targets = drawn(90, 12, apart)
        near = neighbors_know(torch.tensor(values).float(), torch.tensor(targets), "classification")
        found.append((logme(values, np.eye(3)[targets]), h_score(values, targets), near))
    for lowest, middle, highest in zip(*found, strict=True):
        assert lowest < middle < highest
    assert 0 <= found[0][1] < 0.5
    assert 1 < found[2][1] <= 2  # of three classes
    assert found[2][2] > 0.9


def test_logme_of_labels_without_any_error_is_a_number() -> None:
    targets = np.arange(30) % 3
    columns = np.eye(3)[targets]
    for features in (columns, np.zeros((30, 4)), np.ones((30, 4))):
        assert np.isfinite(logme(features, columns))
        assert np.isfinite(h_score(features, targets))


@pytest.mark.parametrize(("images", "features"), SHAPES)
def test_h_score_is_the_trace_of_its_definition(images: int, features: int) -> None:
    values, targets = drawn(images, features, 2.0)
    shrunk, shrinkage = ledoit_wolf(values)
    means = np.array([values[targets == label].mean(axis=0) for label in range(3)])[targets]
    between = np.cov(means.T, bias=True)
    by_hand = (1 - shrinkage) * np.trace(np.linalg.solve(shrunk, between))
    assert h_score(values, targets) == pytest.approx(by_hand, abs=1e-8)


def test_the_nearest_say_what_they_are() -> None:
    """Pairs alike, of labels that mean nothing: the other one tells all, unless it has no say."""
    chance = torch.Generator().manual_seed(0)
    images = torch.randn(40, 30, generator=chance).repeat(2, 1)
    images = images + 0.001 * torch.randn(80, 30, generator=chance)
    targets = torch.randint(0, 2, (40,), generator=chance).repeat(2)
    assert neighbors_know(images, targets, "classification") > 0.9
    groups = [f"{at % 40}" for at in range(80)]
    assert 0.2 < neighbors_know(images, targets, "classification", groups) < 0.8


def test_neighbors_know_labels_and_numbers_too() -> None:
    values, targets = drawn(90, 12, 4.0)
    features, labels = torch.tensor(values).float(), torch.eye(3)[torch.tensor(targets)]
    assert neighbors_know(features, labels, "multi-label") > 0.9
    assert neighbors_know(features, labels * 7 + 1, "regression") > 0.8
