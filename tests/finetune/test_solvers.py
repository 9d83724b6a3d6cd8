"""The solvers that a GPU has, on a CPU: they find what scikit-learn's do."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from zoo.finetune.strategies import linear, probe, solvers
from zoo.finetune.strategies.linear import Fitter, Kind, fitting, gpu_for
from zoo.finetune.strategies.solvers import LeastSquares, Logistic, SquaredHinge

SOLVERS: dict[Kind, type] = {
    "softmax": Logistic, "svm": SquaredHinge, "logistic": Logistic, "ridge": LeastSquares,
}  # fmt: skip


@pytest.fixture(autouse=True)
def few_cs() -> None:
    """None are tried here."""


def digits(kind: Kind, classes: int = 10) -> tuple[Tensor, Tensor]:
    """Pixels, and what such a probe is to tell of them."""
    data = load_digits(n_class=classes)
    features, digit = torch.tensor(data.data, dtype=torch.float32), torch.tensor(data.target)
    if kind == "logistic":
        return features, torch.stack([digit % 2 == 0, digit > 4, digit < 0], dim=1).float()
    if kind == "ridge":
        return features, torch.stack([digit.float(), features[:, :30].sum(1)], dim=1)
    return features, digit


@pytest.mark.parametrize(
    ("kind", "classes"),
    [("softmax", 10), ("softmax", 2), ("svm", 10), ("logistic", 10), ("ridge", 10)],
)
@pytest.mark.parametrize("c", [0.01, 1.0])
def test_a_fit_is_that_of_the_cpu(
    kind: Kind, classes: int, c: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of which only some are computed at once, too."""
    features, targets = digits(kind, classes)
    outputs = targets.shape[1] if targets.dim() > 1 else classes
    few = features[:300], targets[:300], outputs
    wanted = nn.functional.linear(features[300:], *Fitter(kind, *few, exact=True).fit(c))
    monkeypatch.setattr(linear, "gpu_for", lambda *_: torch.device("cpu"))
    monkeypatch.setattr(solvers, "AT_ONCE", 70 * outputs)
    fitter = Fitter(kind, *few, exact=True)
    assert {type(each) for each in fitter.estimators} == {SOLVERS[kind]}
    found = nn.functional.linear(features[300:], *fitter.fit(c))
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_one_c_goes_on_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "gpu_for", lambda *_: torch.device("cpu"))
    features, targets = digits("softmax")
    path = Fitter("softmax", features[:300], targets[:300], 10)
    for c in (0.01, 0.1, 1.0):
        quick = nn.functional.linear(features[300:], *path.fit(c)).argmax(1)
        exact = Fitter("softmax", features[:300], targets[:300], 10, exact=True).fit(c)
        right = (quick == targets[300:]).float().mean()
        best = nn.functional.linear(features[300:], *exact).argmax(1)
        assert abs(right - (best == targets[300:]).float().mean()) < 0.01


def test_neighbors_are_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = torch.Generator().manual_seed(0)
    known, asked = (torch.randn(count, 8, generator=chance) for count in (1000, 500))
    monkeypatch.setattr(probe, "AT_ONCE", 1000 * 90)
    assert torch.equal(probe._nearest_on_gpu(known, asked, 5), probe._nearest(known, asked, 5))


def test_a_gpu_fits_what_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meta stands for one. The CPU fits what lies there, what is done sooner there, and what a GPU
    has no room for.
    """
    there = torch.device("meta")
    monkeypatch.setattr(linear, "free_on", lambda _: 4 * 8 * 10**7 + 1)
    assert gpu_for(torch.empty(10_000, 1000, device=there), 10) == there
    assert gpu_for(torch.empty(10_001, 1000, device=there), 10) is None
    assert gpu_for(torch.empty(1000, 1000, device=there), 10) is None
    assert gpu_for(torch.empty(10_000, 1000), 10) is None
    assert fitting(torch.device("cuda:1")) == torch.device("cuda:1")
    assert fitting(torch.device("mps")) == torch.device("cpu")
