"""Probes on real features: the pixels of scanned digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from zoo.errors import InvalidOption, Unsupported
from zoo.finetune.strategies.linear import Fitter, Split, goodness
from zoo.finetune.strategies.probe import fit_probe, install, neighbors


@pytest.fixture(scope="module")
def pixels() -> Split:
    data = load_digits()
    return torch.tensor(data.data, dtype=torch.float32), torch.tensor(data.target)


def accuracy(head: nn.Linear, features: Tensor, targets: Tensor) -> float:
    with torch.no_grad():
        return goodness(head(features), targets, "classification").mean().item()


@pytest.mark.parametrize("kind", ["softmax", "svm"])
def test_a_probe_becomes_an_ordinary_head(pixels: Split, kind: str) -> None:
    features, targets = pixels
    probe = fit_probe(features[:500], targets[:500], kind=kind)  # type: ignore[arg-type]
    head = nn.Linear(64, 10)
    install(probe, head)
    assert probe.kind == kind
    assert probe.seconds > 0
    assert torch.equal(head.weight, probe.weight)
    assert accuracy(head, features[500:], targets[500:]) > 0.85
    # Without folds the score of C would be that of what it was fitted on, which is 1.
    assert 0.85 < probe.scores[probe.c] < 1


def test_validation_chooses_c_and_is_not_fitted_on(pixels: Split) -> None:
    features, targets = pixels
    fit, held = (features[:100], targets[:100]), (features[100:600], targets[100:600])
    probe = fit_probe(*fit, validation=held)
    weight, bias = Fitter("softmax", *fit, 10, exact=True).fit(probe.c)
    assert torch.equal(probe.weight, weight)
    assert torch.equal(probe.bias, bias)
    assert probe.scores[probe.c] == max(probe.scores.values())
    # Labels drawn by lot: nothing is learned, and the smallest C is as good as any.
    lots = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))]
    by_lot = fit_probe(*fit, validation=(held[0], lots[100:600]))
    assert by_lot.scores[by_lot.c] < 0.2


def test_labels_and_numbers(pixels: Split) -> None:
    features, digit = pixels
    labels = torch.stack([digit % 2 == 0, digit > 4], dim=1).float()
    probe = fit_probe(features[:600], labels[:600], task="multi-label")
    outputs = nn.functional.linear(features[600:], probe.weight, probe.bias)
    assert ((outputs > 0) == (labels[600:] > 0.5)).float().mean() > 0.8
    numbers = features.sum(dim=1, keepdim=True)
    probe = fit_probe(features[:600], numbers[:600], task="regression")
    outputs = nn.functional.linear(features[600:], probe.weight, probe.bias)
    assert goodness(outputs, numbers[600:], "regression").mean() > 0.999


def test_neighbors_vote(pixels: Split) -> None:
    features, labels = pixels
    found = neighbors(features[:300], labels[:300], (features[300:500], labels[300:500]), (1, 400))
    unit = nn.functional.normalize(features, dim=1)
    nearest = (unit[300:500] @ unit[:300].T).argmax(dim=1)
    right = (labels[nearest] == labels[300:500]).float().mean().item()
    assert found == {1: pytest.approx(right)}  # 400 of 300 there cannot be
    theirs = KNeighborsClassifier(5, metric="cosine").fit(features[:300], labels[:300])
    found = neighbors(features[:300], labels[:300], (features[300:500], labels[300:500]), (5, 20))
    assert found[5] == pytest.approx(theirs.score(features[300:500], labels[300:500]))


def test_what_no_probe_can_use(pixels: Split) -> None:
    features, targets = pixels
    with pytest.raises(InvalidOption, match="5 images are too few"):
        fit_probe(features[:5], targets[:5])
    with pytest.raises(InvalidOption, match="an image of each"):
        fit_probe(features[:50], targets[:50] * 2)
    with pytest.raises(Unsupported, match="infinite"):
        fit_probe(features[:50].masked_fill(features[:50] > 15, np.inf), targets[:50])
    with pytest.raises(InvalidOption, match="svm"):
        fit_probe(features[:50], features[:50, :1], task="regression", kind="svm")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (nn.Linear(64, 10, bias=False), "with a bias"),
        (nn.Identity(), "not Identity"),
        (nn.Linear(64, 9), r"\(10, 64\), the head \(9, 64\)"),
    ],
)
def test_a_head_that_it_does_not_fit(pixels: Split, head: nn.Module, message: str) -> None:
    probe = fit_probe(pixels[0][:60], pixels[1][:60])
    with pytest.raises(Unsupported, match=message):
        install(probe, head)
