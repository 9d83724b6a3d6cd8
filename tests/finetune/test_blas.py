"""Solvers that go to and fro between NumPy and SciPy use the threads of one of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from zoo.finetune.strategies.linear import limit_blas_threads
from zoo.finetune.strategies.probe import fit_probe
from zoo.finetune.strategies.solvers import SquaredHinge


def threads() -> dict[str, int]:
    """Threads of each BLAS, by the package that brought it."""
    return {
        name: one["num_threads"]
        for one in threadpool_info()
        for name in ("numpy", "scipy")
        if one["user_api"] == "blas" and f"/{name}" in one["filepath"].replace("\\", "/")
    }


@pytest.fixture(autouse=True)
def two_threads() -> Any:
    """Of each, whatever the machine has; or there is nothing to be seen."""
    with threadpool_limits(2):
        if set(threads().values()) != {2} or len(threads()) < 2:
            pytest.skip("NumPy and SciPy share one BLAS here, or it has one thread")
        yield


def test_scipy_has_one_thread_and_numpy_all() -> None:
    with limit_blas_threads():
        assert threads() == {"numpy": 2, "scipy": 1}
    assert threads() == {"numpy": 2, "scipy": 2}
    with pytest.raises(KeyError), limit_blas_threads():
        raise KeyError
    assert threads() == {"numpy": 2, "scipy": 2}


def test_there_may_be_nothing_to_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = ThreadpoolController().select(filepath=[])
    monkeypatch.setattr("zoo.finetune.strategies.linear._of_scipy", lambda: nothing)
    with limit_blas_threads():
        assert threads() == {"numpy": 2, "scipy": 2}


@pytest.mark.parametrize(
    ("kind", "solver"), [("softmax", LogisticRegression), ("svm", SquaredHinge)]
)
def test_probes_are_fitted_so(kind: Any, solver: type, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, int]] = []
    fit = solver.fit  # type: ignore[attr-defined]

    def watched(self: Any, *args: Any) -> Any:
        seen.append(threads())
        return fit(self, *args)

    monkeypatch.setattr(solver, "fit", watched)
    fit_probe(torch.randn(30, 4), torch.arange(30) % 3, kind=kind)
    assert seen
    assert all(one == {"numpy": 2, "scipy": 1} for one in seen)
