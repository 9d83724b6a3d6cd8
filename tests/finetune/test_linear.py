"""Linear probes against scikit-learn's own pipelines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes.sampled import sampled
from sklearn.datasets import load_breast_cancer, load_digits, load_linnerud
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from zoo.errors import InvalidOption
from zoo.finetune.strategies import linear
from zoo.finetune.strategies.linear import (
    CS,
    Fitter,
    Kind,
    Scaling,
    Split,
    best_c,
    folds,
    goodness,
    kind_for,
)
from zoo.finetune.strategies.solvers import SquaredHinge


@pytest.fixture(autouse=True)
def few_cs() -> None:
    """All of them, here."""


@pytest.fixture
def no_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scales are those of scikit-learn's pipelines, whose data has features of all scales."""
    monkeypatch.setattr(linear, "FLOOR", 1e-4)


def digits() -> Split:
    """Pixels as features: 64 features of which a few never move."""
    data = load_digits()
    return torch.tensor(data.data, dtype=torch.float32), torch.tensor(data.target)


def said(fitted: tuple[Tensor, Tensor], features: Tensor) -> Tensor:
    return nn.functional.linear(features, *fitted)


@pytest.mark.usefixtures("no_floor")
def test_a_folded_softmax_gives_the_pipelines_probabilities() -> None:
    features, targets = digits()
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-9, max_iter=999))
    pipeline.fit(features[:600].double().numpy(), targets[:600].numpy())
    outputs = said(
        Fitter("softmax", features[:600], targets[:600], 10, exact=True).fit(0.1), features[600:]
    )
    expected = pipeline.predict_proba(features[600:].double().numpy())
    assert np.abs(outputs.softmax(1).numpy() - expected).max() < 1e-4


@pytest.mark.parametrize("kind", ["softmax", "svm"])
@pytest.mark.parametrize("c", sampled([0.01, 1.0, 100.0], [1.0]))
def test_a_fit_is_at_its_optimum(kind: Kind, c: float) -> None:
    """Within 1e-4 of the largest output, as solvers give it that go on to the last bits."""
    features, targets = digits()
    few, labels = features[:200], targets[:200]
    scaling = Scaling.of(few)
    scaled, rest = scaling.apply(few), scaling.apply(features[200:])
    if kind == "softmax":
        best = LogisticRegression(C=c, tol=1e-13, max_iter=10**5).fit(scaled, labels.numpy())
        weight, bias = best.coef_, best.intercept_
    else:
        squared = SquaredHinge(1e-16, 10**5)
        squared.set_params(C=c)
        squared.fit(scaled, labels.numpy())
        weight, bias = squared.coef_, squared.intercept_
    wanted = rest @ weight.T + bias
    outputs = said(Fitter(kind, few, labels, 10, exact=True).fit(c), features[200:]).numpy()
    assert np.abs(outputs - wanted).max() < 1e-4 * np.abs(wanted).max()


@pytest.mark.usefixtures("no_floor")
def test_two_classes_differ_by_their_logit() -> None:
    data = load_breast_cancer()
    features = torch.tensor(data.data, dtype=torch.float32)  # means from 0.004 to 880
    targets = torch.tensor(data.target)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-9, max_iter=9999))
    pipeline.fit(data.data[:400], data.target[:400])
    outputs = said(
        Fitter("softmax", features[:400], targets[:400], 2, exact=True).fit(1.0), features[400:]
    )
    expected = pipeline.predict_proba(data.data[400:])
    assert np.abs(outputs.softmax(1).numpy() - expected).max() < 1e-4


@pytest.mark.usefixtures("no_floor")
def test_support_vectors_are_the_pipelines() -> None:
    features, targets = digits()
    pipeline = make_pipeline(StandardScaler(), LinearSVC(C=0.01, dual=False, tol=1e-10))
    pipeline.fit(features[:600].double().numpy(), targets[:600].numpy())
    outputs = said(
        Fitter("svm", features[:600], targets[:600], 10, exact=True).fit(0.01), features[600:]
    )
    expected = pipeline.decision_function(features[600:].double().numpy())
    assert np.abs(outputs.numpy() - expected).max() < 1e-3


@pytest.mark.long
def test_support_vectors_go_on_from_one_c_to_the_next() -> None:
    features, targets = digits()
    few = features[:300], targets[:300], 10
    path = Fitter("svm", *few)
    for c in CS:
        quick = said(path.fit(c), features[300:])
        exact = said(Fitter("svm", *few, exact=True).fit(c), features[300:])
        right = (quick.argmax(1) == targets[300:]).float().mean()
        assert abs(right - (exact.argmax(1) == targets[300:]).float().mean()) < 0.01
        assert (quick - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.usefixtures("no_floor")
def test_support_vectors_of_two_classes() -> None:
    data = load_breast_cancer()
    features, targets = torch.tensor(data.data, dtype=torch.float32), torch.tensor(data.target)
    pipeline = make_pipeline(StandardScaler(), LinearSVC(C=0.1, dual=False, tol=1e-10))
    pipeline.fit(data.data[:400], data.target[:400])
    outputs = said(
        Fitter("svm", features[:400], targets[:400], 2, exact=True).fit(0.1), features[400:]
    )
    expected = pipeline.decision_function(data.data[400:])
    assert np.abs((outputs[:, 1] - outputs[:, 0]).numpy() - expected).max() < 0.005


@pytest.mark.usefixtures("no_floor")
def test_each_label_has_its_own_regression() -> None:
    features, digit = digits()
    labels = torch.stack([digit % 2 == 0, digit > 4, torch.zeros(len(digit))], dim=1).float()
    outputs = said(
        Fitter("logistic", features[:600], labels[:600], 3, exact=True).fit(0.1), features[600:]
    )
    for column in (0, 1):
        pipeline = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.1, tol=1e-9, max_iter=9999)
        )
        pipeline.fit(features[:600].double().numpy(), labels[:600, column].numpy())
        expected = pipeline.predict_proba(features[600:].double().numpy())[:, 1]
        assert np.abs(outputs[:, column].sigmoid().numpy() - expected).max() < 1e-3
    assert outputs[:, 2].sigmoid().max() < 1 / 600  # never seen: said with as much certainty


@pytest.mark.usefixtures("no_floor")
def test_numbers_are_regressed() -> None:
    data = load_linnerud()
    features = torch.tensor(data.data, dtype=torch.float32)
    targets = torch.tensor(data.target, dtype=torch.float32)
    pipeline = make_pipeline(StandardScaler(), Ridge(alpha=10))
    pipeline.fit(data.data[:15], data.target[:15])
    outputs = said(Fitter("ridge", features[:15], targets[:15], 3).fit(0.1), features[15:])
    assert np.allclose(outputs.numpy(), pipeline.predict(data.data[15:]), rtol=1e-4)


def test_what_hardly_moves_cannot_drown_the_rest() -> None:
    features = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    features[:, 1] = 1000 + 1e-4 * features[:, 1]  # below what float32 tells apart
    features[:, 2] = 0
    features[7, 2] = 1e-9  # a unit that fired once
    scaled = Scaling.of(features)
    weight, bias = scaled.fold(np.ones((1, 4)), np.zeros(1))
    assert weight[0, 1] == 0
    assert weight[0, 2] < 20
    moved = features.clone()
    moved[:, 2] = 1
    assert said((weight, bias), moved).abs().max() < 20


def test_the_least_scale_is_of_a_depth() -> None:
    """Units differ in the scale of their features, which tells nothing of how these move."""
    features = torch.randn(100, 6, generator=torch.Generator().manual_seed(0))
    features[:, 3:] *= 1e-3
    small = Scaling.of(features, (3, 3)).scale[3:] / Scaling.of(features[:, 3:]).scale
    assert np.allclose(small, small[0])


def test_a_class_without_images_is_never_said() -> None:
    features, targets = digits()
    few = targets < 5
    weight, bias = Fitter("softmax", features[few], targets[few], 10).fit(1.0)
    assert torch.equal(bias.isinf(), torch.arange(10) >= 5)
    assert weight.isfinite().all()
    assert said((weight, bias), features).argmax(1).max() == 4


def test_the_smallest_of_the_best_cs_is_taken() -> None:
    features, targets = digits()
    noise = torch.randn(len(features), 500, generator=torch.Generator().manual_seed(0))
    features = torch.cat([features, 4 * noise], dim=1)
    fit, held = (features[:200], targets[:200]), (features[200:900], targets[200:900])
    c, scores = best_c("softmax", "classification", [(fit, held)], 10)
    for tried, score in scores.items():
        afresh = said(Fitter("softmax", *fit, 10, exact=True).fit(tried), held[0])
        assert score == pytest.approx(
            goodness(afresh, held[1], "classification").mean().item(), abs=0.01
        )
    assert c == min(tried for tried in CS if scores.get(tried) == max(scores.values()))
    assert c < CS[-1]  # so much noise wants small coefficients


def test_of_equal_scores_the_smaller_loss_chooses_c() -> None:
    """With few images a small C tells as well, and is sure of nothing."""
    features, targets = digits()
    few = targets < 3
    features, targets = features[few], targets[few]
    fit, held = (features[:30], targets[:30]), (features[30:40], targets[30:40])
    c, scores = best_c("softmax", "classification", [(fit, held)], 3)
    assert scores[0.01] == scores[c] == 1
    outputs = said(Fitter("softmax", *fit, 3, exact=True).fit(c), features[40:])
    assert outputs.softmax(1).max(1).values.median() > 0.9


def test_values_of_c_that_bring_nothing_are_not_waited_for() -> None:
    targets = torch.arange(200) % 10
    easy = nn.functional.one_hot(targets).float(), targets
    assert best_c("svm", "classification", [(easy, easy)], 10) == (
        CS[0], dict.fromkeys(CS[:3], 1.0),
    )  # fmt: skip


def test_folds_score_each_image_once_and_spread_classes() -> None:
    targets = torch.tensor([0] * 30 + [1] * 3 + [2] * 7)
    found = folds(targets, 3, seed=1)
    assert sorted(torch.cat([held for _, held in found]).tolist()) == list(range(40))
    for fit, held in found:
        assert sorted([*fit.tolist(), *held.tolist()]) == list(range(40))
        assert (targets[held] == 1).sum() == 1
        assert (targets[held] == 0).sum() == 10
    again, other = folds(targets, 3, seed=1), folds(targets, 3, seed=2)
    assert torch.equal(found[0][1], again[0][1])
    assert not torch.equal(found[0][1], other[0][1])


def test_goodness_is_what_scores_mean() -> None:
    torch.manual_seed(0)
    outputs, labels = torch.randn(50, 4), (torch.rand(50, 4) > 0.6).float()
    labels[0], outputs[0] = 0, -1  # none there, none said
    f1 = f1_score(labels.numpy(), (outputs > 0).numpy(), average="samples", zero_division=1)
    assert goodness(outputs, labels, "multi-label").mean() == pytest.approx(f1)
    numbers = torch.randn(50, 2)
    r2 = r2_score(numbers.numpy(), outputs[:, :2].numpy(), multioutput="variance_weighted")
    assert goodness(outputs[:, :2], numbers, "regression").mean() == pytest.approx(r2, abs=1e-5)
    classes = torch.randint(4, (50,))
    right = (outputs.argmax(1) == classes).float()
    assert torch.equal(goodness(outputs, classes, "classification"), right)


@pytest.mark.parametrize(
    ("task", "kind"),
    [("classification", "softmax"), ("multi-label", "logistic"), ("regression", "ridge")],
)
def test_a_softmax_is_what_the_task_makes_of_it(task: str, kind: Kind) -> None:
    assert kind_for(task, "softmax") == kind  # type: ignore[arg-type]
    if task != "regression":
        assert kind_for(task, "svm") == "svm"  # type: ignore[arg-type]
        return
    with pytest.raises(InvalidOption, match="svm"):
        kind_for(task, "svm")  # type: ignore[arg-type]
