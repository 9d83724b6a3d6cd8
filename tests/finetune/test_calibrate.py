"""Temperatures, reliability and risk against coverage, held to other libraries' figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from torch import nn

from zoo.domain.calibration import calibration_error
from zoo.finetune.results.calibrate import (
    FEWEST,
    SPREAD,
    STEPS,
    effect_of,
    fitted_temperature,
    reliability,
    risk_coverage,
)

Drawn = tuple[NDArray[np.float32], NDArray[np.int64]]


def drawn(count: int, *, sharp: float = 3.0, seed: int = 0, classes: int = 4) -> Drawn:
    """Outputs that are ``sharp`` times as sure as they should be, and what images show."""
    random = np.random.default_rng(seed)
    outputs = random.normal(0, 1.5, (count, classes))
    shares = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    targets = np.array([random.choice(classes, p=share) for share in shares])
    return (sharp * outputs).astype(np.float32), targets.astype(np.int64)


def by_torch(loss: nn.Module, outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """The same temperature by another way: LBFGS on ln T."""
    log_t = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([log_t], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def step() -> torch.Tensor:
        search.zero_grad()
        cost: torch.Tensor = loss(outputs.double() / log_t.exp(), targets)
        cost = cost + (log_t.square() / (2 * SPREAD**2)).sum()
        cost.backward()  # type: ignore[no-untyped-call]
        return cost

    search.step(step)  # type: ignore[no-untyped-call]
    return float(log_t.detach().exp())


def test_the_temperature_of_classes_is_that_of_torch() -> None:
    outputs, targets = drawn(300)
    found = fitted_temperature("classification", outputs, targets)
    loss = nn.CrossEntropyLoss(reduction="sum")
    expected = by_torch(loss, torch.from_numpy(outputs), torch.from_numpy(targets))
    assert found == pytest.approx(expected, rel=1e-5)
    assert 2.5 < float(found) < 3.5  # they are three times as sure as they should be


def test_the_temperature_of_labels_is_that_of_torch() -> None:
    random = np.random.default_rng(1)
    outputs = random.normal(0, 1, (200, 3))
    targets = (random.random((200, 3)) < 1 / (1 + np.exp(-outputs))).astype(np.float32)
    sharp = (4 * outputs).astype(np.float32)
    found = fitted_temperature("multi-label", sharp, targets)
    loss = nn.BCEWithLogitsLoss(reduction="sum")
    expected = by_torch(loss, torch.from_numpy(sharp), torch.from_numpy(targets).double())
    assert found == pytest.approx(expected, rel=1e-5)


def test_too_few_images_give_none() -> None:
    outputs, targets = drawn(FEWEST - 1)
    found = fitted_temperature("classification", outputs, targets)
    assert found == f"{FEWEST - 1} validation images are too few to fit a temperature; 20 may do"
    outputs, targets = drawn(300)
    in_few_groups = [str(at % 5) for at in range(300)]
    found = fitted_temperature("classification", outputs, targets, in_few_groups)
    assert found == "5 groups of validation images are too few to fit a temperature; 20 may do"


def test_probabilities_that_are_right_stay_so() -> None:
    outputs, targets = drawn(200, sharp=1.0)
    said = fitted_temperature("classification", outputs, targets)
    assert said == "in cross-validation a temperature made the probabilities no better"


def test_images_that_are_all_right_do_not_make_it_sure() -> None:
    """The likeliest temperature of these would be 0."""
    random = np.random.default_rng(0)
    targets = random.integers(0, 4, 40)
    outputs = (2.0 * np.eye(4)[targets]).astype(np.float32)
    found = fitted_temperature("classification", outputs, targets)
    assert 0.2 < float(found) < 1


def test_copies_of_an_image_are_one() -> None:
    """Ten copies of each of 30 images: what was fitted on a copy is not told by another."""
    outputs, targets = drawn(30, sharp=1.5, seed=2)
    copies, labels = outputs.repeat(10, axis=0), targets.repeat(10)
    alone = fitted_temperature("classification", copies, labels)
    names = [str(at // 10) for at in range(300)]
    grouped = fitted_temperature("classification", copies, labels, names)
    assert not isinstance(alone, str)
    assert isinstance(grouped, str)


@pytest.mark.parametrize(
    ("temperature", "count", "says"),
    [
        (3.0, 300, "it is better with it"),
        (0.3, 300, "it is worse with it (zoo predict --no-calibration leaves it out)"),
        (0.95, 12, "no difference can be seen"),
        (0.3, 1, "no difference can be seen"),
    ],
)
def test_whether_a_temperature_helps_is_told_beyond_chance_alone(
    temperature: float, count: int, says: str
) -> None:
    outputs, targets = drawn(count, sharp=3.0)
    effect = effect_of("classification", outputs, targets, temperature)
    assert effect
    logits, loss = torch.from_numpy(outputs).double(), nn.CrossEntropyLoss()
    wanted = [float(loss(logits / t, torch.from_numpy(targets))) for t in (1.0, temperature)]
    assert [effect.raw_loss, effect.loss] == pytest.approx(wanted)
    assert str(effect).endswith(f": {says}")


def test_copies_of_a_test_image_show_a_temperature_once() -> None:
    outputs, targets = (each[:3].repeat(50, axis=0) for each in drawn(3, sharp=3.0))
    names = [str(at // 50) for at in range(150)]
    alone = effect_of("classification", outputs, targets, 3.0)
    grouped = effect_of("classification", outputs, targets, 3.0, names)
    assert alone
    assert grouped
    assert alone.p < 0.05 < grouped.p


def test_the_effect_on_labels_is_of_one_label() -> None:
    random = np.random.default_rng(1)
    outputs = random.normal(0, 3, (200, 3)).astype(np.float32)
    targets = (random.random((200, 3)) < 0.3).astype(np.float32)
    effect = effect_of("multi-label", outputs, targets, 2.0)
    assert effect
    scaled = torch.from_numpy(outputs).double() / 2
    wanted = nn.BCEWithLogitsLoss()(scaled, torch.from_numpy(targets).double())
    assert effect.loss == pytest.approx(float(wanted))
    assert effect_of("multi-label", outputs, targets, 1.0) is None


def test_numbers_have_none() -> None:
    numbers = np.zeros((50, 2), np.float32)
    assert fitted_temperature("regression", numbers, numbers) == ""
    assert reliability("regression", numbers, numbers, 1.0) == ()


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_bins_are_those_of_scikit_learn(temperature: float) -> None:
    outputs, targets = drawn(500)
    shares = torch.from_numpy(outputs).double().div(temperature).softmax(dim=1)
    sure, said = (each.numpy() for each in shares.max(dim=1))
    right, confidence = calibration_curve(said == targets, sure, n_bins=15)
    bins = reliability("classification", outputs, targets, temperature)
    assert [each.right for each in bins] == pytest.approx(right)
    assert [each.confidence for each in bins] == pytest.approx(confidence)
    counts = np.histogram(sure, np.linspace(0, 1, 16))[0]
    assert [each.count for each in bins] == counts[counts > 0].tolist()
    weights = counts[counts > 0] / 500
    assert calibration_error(bins) == pytest.approx((weights * abs(right - confidence)).sum())


def test_bins_of_labels_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    outputs = random.normal(0, 3, (200, 3)).astype(np.float32)
    targets = (random.random((200, 3)) < 0.3).astype(np.float32)
    likely = torch.from_numpy(outputs).double().sigmoid().numpy().ravel()
    right, confidence = calibration_curve(targets.ravel(), likely, n_bins=15)
    bins = reliability("multi-label", outputs, targets, 1.0)
    assert [each.right for each in bins] == pytest.approx(right)
    assert [each.confidence for each in bins] == pytest.approx(confidence)


def test_steps_count_answers_and_bound_them() -> None:
    outputs, targets = drawn(150)
    steps = risk_coverage(outputs, targets, 3.0)
    assert len(steps) == 150  # no two are as sure
    sure = torch.from_numpy(outputs).double().div(3.0).softmax(dim=1).numpy()
    for step in (steps[0], steps[40], steps[-1]):
        answered = sure.max(axis=1) >= step.confidence
        right = (sure.argmax(axis=1) == targets) & answered
        assert (step.answered, step.right) == (answered.sum(), right.sum())
        exact = binomtest(step.right, step.answered, alternative="greater").proportion_ci(0.95)
        assert step.low == pytest.approx(exact.low)
    assert steps[-1].answered == 150


def test_there_are_not_too_many_steps() -> None:
    outputs, targets = drawn(5000)
    steps = risk_coverage(outputs, targets, 1.0)
    assert len(steps) == STEPS
    assert steps[-1].answered == 5000


def test_images_that_are_as_sure_answer_together() -> None:
    outputs = np.array([[2, 0], [2, 0], [1, 0], [2, 0]], np.float32)
    steps = risk_coverage(outputs, np.array([0, 1, 0, 0]), 1.0)
    assert [(step.answered, step.right) for step in steps] == [(3, 2), (4, 3)]


def test_images_of_a_group_bound_less() -> None:
    outputs, targets = drawn(40, seed=2)
    copies, labels = outputs.repeat(5, axis=0), targets.repeat(5)
    names = [str(at // 5) for at in range(200)]
    alone, grouped = (risk_coverage(copies, labels, 1.0, each)[-1] for each in ((), names))
    (of_one,) = risk_coverage(outputs, targets, 1.0)[-1:]
    assert grouped.low == pytest.approx(of_one.low, abs=0.01)
    assert alone.low > of_one.low + 0.02
