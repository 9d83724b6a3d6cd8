"""Linear support vectors for all classes at once, by L-BFGS.

The problem of scikit-learn's LinearSVC: one class against the rest, squared hinge, the bias
regularized like a weight. Its solver, liblinear, goes class by class and begins anew for each C;
the squared hinge is smooth (Chang, Hsieh and Lin, JMLR 9, 2008), so that products of whole matrices
will do, which torch spreads over the cores, and the next C begins where the one before ended.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import nn

__all__ = ["SquaredHinge"]

Array = NDArray[np.float64]


class SquaredHinge:
    """A one-vs-rest classifier with the attributes of scikit-learn's.

    Args:
        tol: Share of the objective (or of 1, if it is less) below which a step's gain ends the
            search; also the largest part of a gradient that counts as none.
        max_iter: Most steps.

    Attributes:
        coef_: (K, F), or (1, F) for two classes.
        intercept_: (K,), or (1,).
    """

    def __init__(self, tol: float, max_iter: int) -> None:
        self.tol, self.max_iter = tol, max_iter
        self.C = 1.0
        self._found: Array | None = None

    def set_params(self, C: float) -> None:  # noqa: N803 - scikit-learn's name
        """The weight of the data against that of small coefficients."""
        self.C = C

    def fit(self, features: Array, classes: Array) -> None:
        """Fit scaled features (N, F), in their precision, beginning at the solution before."""
        values = np.unique(classes)
        positive = values[1:] if len(values) == 2 else values
        inputs = nn.functional.pad(torch.from_numpy(features), (0, 1), value=1.0)
        signs = torch.from_numpy(np.where(classes[:, None] == positive, 1, -1)).to(inputs.dtype)
        shape = (len(positive), inputs.shape[1])

        def objective(flat: Array) -> tuple[float, Array]:
            weight = torch.from_numpy(flat).reshape(shape).to(inputs.dtype)
            slack = (1 - signs * (inputs @ weight.T)).clamp(min=0)
            gradient = weight - 2 * self.C * ((signs * slack).T @ inputs)
            value = 0.5 * weight.square().sum() + self.C * slack.square().sum()
            return float(value), gradient.flatten().double().numpy()

        start = np.zeros(shape).ravel() if self._found is None else self._found
        options = {"maxiter": self.max_iter, "ftol": self.tol, "gtol": self.tol}
        self._found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
        weight = self._found.reshape(shape)
        self.coef_, self.intercept_ = weight[:, :-1], weight[:, -1]
