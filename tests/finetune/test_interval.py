"""Intervals against scipy's and scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import average_precision_score, r2_score

from zoo.backbones.heads.tasks import metrics
from zoo.domain.task import SCORE, Task
from zoo.finetune.results.interval import Array, average_precisions, mean_of_known, r2s
from zoo.finetune.results.report import LabeledOutputs


def interval(task: Task, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[float, float]:
    """The interval of the task's score in a report."""
    names = [str(number) for number in range(outputs.shape[1])]
    images = [str(number) for number in range(len(outputs))]
    score = SCORE[task]
    found = LabeledOutputs(task, outputs, targets, names, images).report({}).metrics
    return found[f"{score}_low"], found[f"{score}_high"]


def mean_average_precisions(outputs: Array, targets: Array, times: Array) -> Array:
    """The figure of each draw."""
    return mean_of_known(average_precisions(outputs, targets, times))


def accuracy(right: int, count: int) -> tuple[float, float]:
    """The interval of an accuracy."""
    targets = torch.zeros(count, dtype=torch.long)
    outputs = torch.eye(2)[[0] * right + [1] * (count - right)]
    return interval("classification", outputs, targets)


@pytest.mark.parametrize(
    ("right", "count"), [(0, 1), (1, 1), (0, 10), (7, 10), (81, 263), (6, 6), (999, 1000)]
)
def test_shares_have_wilsons(right: int, count: int) -> None:
    expected = binomtest(right, count).proportion_ci(method="wilson")
    assert accuracy(right, count) == pytest.approx(tuple(expected), abs=1e-12)


def test_wilsons_as_published() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    for right, count, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)):
        assert accuracy(right, count) == pytest.approx((low, high), abs=5e-5)


def test_of_one_image_there_is_one_figure() -> None:
    outputs, targets = torch.tensor([[0.4, 0.1]]), torch.tensor([[1.0, 0.0]])
    assert interval("multi-label", outputs, targets) == (1.0, 1.0)
    assert interval("regression", outputs, targets) == (0.0, 0.0)


@pytest.fixture
def labels() -> tuple[Array, Array]:
    """Sixty images with three labels, one of them rare; scores that tie."""
    draw = np.random.default_rng(3)
    targets = (draw.random((60, 3)) < (0.5, 0.3, 0.05)).astype(float)
    return np.round(targets + draw.normal(0, 0.8, targets.shape), 1), targets


@pytest.fixture
def numbers() -> tuple[Array, Array]:
    draw = np.random.default_rng(4)
    targets = 1000 + draw.normal(0, (1, 5), (60, 2))
    return targets + draw.normal(0, 1.5, targets.shape), targets


def drawn(count: int) -> Array:
    draw = np.random.default_rng(5)
    return draw.multinomial(count, np.full(count, 1 / count), size=20).astype(float)


def test_precision_of_a_draw_is_scikit_learns(labels: tuple[Array, Array]) -> None:
    outputs, targets = labels
    for times, found in zip(drawn(60), mean_average_precisions(*labels, drawn(60)), strict=True):
        images = np.repeat(np.arange(60), times.astype(int))
        occurs = [k for k in range(3) if targets[images, k].any()]
        expected = [average_precision_score(targets[images, k], outputs[images, k]) for k in occurs]
        assert found == pytest.approx(np.mean(expected), abs=1e-12)


def test_r2_of_a_draw_is_scikit_learns(numbers: tuple[Array, Array]) -> None:
    for times, found in zip(drawn(60), r2s(*numbers, drawn(60)), strict=True):
        said, true = (torch.from_numpy(np.repeat(part, times.astype(int), 0)) for part in numbers)
        assert found == pytest.approx(metrics(said, true, "regression")["r2"], abs=1e-9)
    outputs, targets = (part[:, :1] for part in numbers)
    (found,) = r2s(outputs, targets, np.ones((1, 60)))
    assert found == pytest.approx(r2_score(targets, outputs), abs=1e-9)


def test_nothing_to_find() -> None:
    assert mean_average_precisions(np.ones((3, 2)), np.zeros((3, 2)), np.ones((1, 3))) == [0.0]
    assert r2s(np.zeros((3, 1)), np.ones((3, 1)), np.ones((1, 3))) == [0.0]


@pytest.mark.parametrize(
    ("task", "name", "given"),
    [
        pytest.param("multi-label", "mean_average_precision", "labels", marks=pytest.mark.long),
        ("regression", "r2", "numbers"),
    ],
)
def test_intervals_are_scipys(
    task: Task, name: str, given: str, request: pytest.FixtureRequest
) -> None:
    outputs, targets = request.getfixturevalue(given)
    said, true = torch.from_numpy(outputs), torch.from_numpy(targets)

    def figure(images: Array) -> float:
        chosen = images.astype(int)
        return metrics(said[chosen], true[chosen], task)[name]

    expected = bootstrap(
        (np.arange(60),), figure, vectorized=False, n_resamples=1000, method="percentile",
        random_state=1,
    ).confidence_interval  # fmt: skip
    found = interval(task, said, true)
    assert found == pytest.approx(tuple(expected), abs=0.02)
    assert found == interval(task, said, true)
    assert found[0] < metrics(said, true, task)[name] < found[1]
