"""Solvers of linear classifiers and regressions in products of whole matrices, which a GPU can do.

They have the attributes of scikit-learn's, which do the same on a CPU but for `SquaredHinge`. The
searches are SciPy's L-BFGS, on the CPU, where a solution and its history are.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

__all__ = ["Array", "LeastSquares", "Logistic", "SquaredHinge"]

Array: TypeAlias = NDArray[np.float64]
AT_ONCE = 1 << 26
"""Outputs of as many images as are computed at once: of float64, with gradients, 1.5 GB."""


class SquaredHinge:
    """Linear support vectors for all classes at once, with the attributes of scikit-learn's.

    The problem of LinearSVC: one class against the rest, squared hinge, the bias regularized like a
    weight. Its solver, liblinear, goes class by class and begins anew for each C; the squared hinge
    is smooth (Chang, Hsieh and Lin, JMLR 9, 2008), so that L-BFGS will do on products of whole
    matrices, which torch spreads over the cores, or a GPU does, and the next C begins where the one
    before ended.

    Args:
        tol: Share of the objective (or of 1, if it is less) below which a step's gain ends the
            search; also the largest part of a gradient that counts as none.
        max_iter: Most steps.
    """

    def __init__(self, tol: float, max_iter: int) -> None:
        self.tol, self.max_iter = tol, max_iter
        self.C = 1.0
        self._solution: Array | None = None

    def set_params(self, C: float) -> None:  # noqa: N803 - scikit-learn's name
        """The weight of the data against that of small coefficients."""
        self.C = C

    def fit(self, features: Array | Tensor, classes: Array) -> None:
        """Fit scaled features (N, F), in their precision and where they lie, beginning at the
        solution before.
        """
        values = np.unique(classes)
        positive = values[1:] if len(values) == 2 else values
        inputs = nn.functional.pad(torch.as_tensor(features), (0, 1), value=1.0)
        signs = torch.from_numpy(np.where(classes[:, None] == positive, 1, -1)).to(inputs)
        shape = (len(positive), inputs.shape[1])

        def objective(flat: Array) -> tuple[float, Array]:
            weight = torch.from_numpy(flat).reshape(shape).to(inputs)
            slack = (1 - signs * (inputs @ weight.T)).clamp(min=0)
            gradient = weight - 2 * self.C * ((signs * slack).T @ inputs)
            value = 0.5 * weight.square().sum() + self.C * slack.square().sum()
            return float(value), gradient.flatten().double().cpu().numpy()

        start = np.zeros(shape).ravel() if self._solution is None else self._solution
        self._solution = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.max_iter, "ftol": self.tol, "gtol": self.tol},
        ).x
        weight = self._solution.reshape(shape)
        self.coef_, self.intercept_ = weight[:, :-1], weight[:, -1]


class Logistic:
    """Multinomial logistic regression, of two classes binary: the problem of scikit-learn's, whose
    bias is not regularized.

    Args:
        max_iter: Most steps.
        tol: The largest part of a gradient of the mean loss that counts as none.
    """

    def __init__(self, max_iter: int, tol: float = 1e-4) -> None:
        self.max_iter, self.tol = max_iter, tol
        self.C = 1.0
        self._solution: Array | None = None

    def set_params(self, C: float, tol: float | None = None) -> None:  # noqa: N803
        """The weight of the data against that of small coefficients; and the tolerance."""
        self.C, self.tol = C, tol or self.tol

    def fit(self, features: Tensor, classes: Array) -> None:
        """Fit scaled features (N, F), in their precision and where they lie, beginning at the
        solution before.
        """
        values, codes = np.unique(classes, return_inverse=True)
        rows = 1 if len(values) == 2 else len(values)
        inputs, count = nn.functional.pad(features, (0, 1), value=1.0), len(features)
        size = max(AT_ONCE // rows, 1)
        truths = torch.from_numpy(codes).to(inputs.device)
        parts = list(zip(*(torch.split(each, size) for each in (inputs, truths)), strict=True))

        def objective(flat: Array) -> tuple[float, Array]:
            weight = torch.from_numpy(flat).reshape(rows, -1).to(inputs).requires_grad_()
            loss = weight[:, :-1].square().sum() / (2 * self.C * count)
            loss.backward()  # type: ignore[no-untyped-call]
            whole = loss.detach()
            for some, truth in parts:
                loss = _log_loss(some @ weight.T, truth) / count
                loss.backward()  # type: ignore[no-untyped-call]
                whole = whole + loss.detach()
            assert weight.grad is not None
            return float(whole), weight.grad.flatten().double().cpu().numpy()

        zeros = np.zeros(rows * inputs.shape[1])
        start = zeros if self._solution is None else self._solution
        precision = 64 * float(np.finfo(float).eps)  # as scikit-learn asks for
        self._solution = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.max_iter, "maxls": 50, "gtol": self.tol, "ftol": precision},
        ).x
        weight = self._solution.reshape(rows, -1)
        self.coef_, self.intercept_ = weight[:, :-1], weight[:, -1]


def _log_loss(outputs: Tensor, classes: Tensor) -> Tensor:
    """Of outputs (N, K) for K classes, or (N, 1) for two, over all images."""
    if outputs.shape[1] > 1:
        return nn.functional.cross_entropy(outputs, classes, reduction="sum")
    whole = nn.functional.binary_cross_entropy_with_logits
    return whole(outputs[:, 0], classes.to(outputs), reduction="sum")


class LeastSquares:
    """Ridge regression by its normal equations, in float64; the bias is not regularized."""

    def __init__(self) -> None:
        self.alpha = 1.0

    def set_params(self, alpha: float) -> None:
        """The weight of small coefficients against that of the data."""
        self.alpha = alpha

    def fit(self, features: Tensor, targets: Array) -> None:
        """Fit scaled features (N, F), where they lie, to numbers (N, K)."""
        numbers = torch.from_numpy(targets).to(features)
        means, mean = features.mean(dim=0), numbers.mean(dim=0)
        inputs = features - means
        products = inputs.T @ inputs
        products.diagonal().add_(self.alpha)
        root = torch.linalg.cholesky(products)
        weight = torch.cholesky_solve(inputs.T @ (numbers - mean), root).T
        self.coef_ = weight.cpu().numpy()
        self.intercept_ = (mean - weight @ means).cpu().numpy()
