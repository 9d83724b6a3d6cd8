"""Linear classifiers and regressions on features: scaling, solvers, scores.

The solvers are scikit-learn's, and those of `zoo.finetune.strategies.solvers`. They want features
of one scale; a network's head gets them as they are. So features are standardized, and the scaling
is folded into weight and bias afterwards.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import scipy.linalg  # noqa: F401 - its BLAS must be loaded to be found
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from zoo.backbones.devices import free_on
from zoo.domain.task import Task
from zoo.errors import InvalidOption
from zoo.finetune.dataset.allot import allot
from zoo.finetune.results.goodness import goodness
from zoo.finetune.strategies.solvers import Array, LeastSquares, Logistic, SquaredHinge

__all__ = [
    "Fitter",
    "Kind",
    "Rank",
    "Split",
    "along_c",
    "best_c",
    "fitting",
    "folds",
    "goodness",
    "kind_for",
    "rank_of",
    "splits",
]

CS = tuple(10.0**power for power in range(-4, 3))
"""Values of C to try: the weight of the data against that of small coefficients."""
PATIENCE = 2
"""How many values of C in a row may be no better before larger ones, which take longest to fit,
are left out."""

CONVERGED = 1e-8
"""Largest gradient of the mean loss at which a fit with C = 1 is done, less for a larger C, whose
optimum is flatter: logits are then within 1e-4 of the largest one of those at the optimum. With
scikit-learn's own tolerance, 1e-4, they were off by up to three quarters of it (C = 10)."""

STILL = 1e-5
"""Smallest deviation of a feature, as a share of its mean: below it float32 would hold mostly
rounding errors."""
FLOOR = 0.1
"""Least scale of a feature, as a share of the median one of its depth. A feature that hardly moved
in training, a unit that fired once, say, would otherwise drown all others as soon as it moves. With
1e-4, 300 images of digits, fashion and letters at 48 pixels gave logits of hundreds to new images
(EfficientNet-Lite0): a mean loss of 3.6 on letters, 0.96 with 0.1, and no better accuracy."""

LARGE = 10**8
"""Products in each step of a solver from which a GPU is worth it: below, a CPU has done them before
the GPU has begun, and a search takes hundreds of steps."""

COPIES = 4
"""Of the features that a fit has at most: those of three folds, and one with a column more."""

MOST_TURNED = 1000
"""Images up to which their axes are found in less time than they save."""
SPANNED = 1e-12
"""Least share of the variance along the first axis that is not rounding."""

LEAST = -1e4
"""In the place of an infinite logit, whose loss would hide all others."""

Estimator: TypeAlias = Any  # scikit-learn has no types
Split = tuple[Tensor, Tensor]
"""Features (N, F) and targets."""
Kind = Literal["softmax", "svm", "logistic", "ridge"]
"""Multinomial logistic regression, one-vs-rest support vectors, a logistic regression for each
label, least squares. The last is for numbers, the one before for labels by themselves."""


def kind_for(task: Task, asked: Literal["softmax", "svm"]) -> Kind:
    """The kind of probe for a task: where classes take a softmax, labels and numbers take theirs.

    Raises `InvalidOption` for support vectors of a regression, which there are none of.
    """
    if asked == "svm":
        if task == "regression":
            raise InvalidOption("an svm probe is for classes or labels, not for regression")
        return "svm"
    kinds: dict[Task, Kind] = {
        "classification": "softmax",
        "multi-label": "logistic",
        "regression": "ridge",
    }
    return kinds[task]


@dataclass(frozen=True, slots=True)
class Scaling:
    """Features to mean 0 and deviation 1; what does not move is left out.

    Those of several depths are beside each other, ``parts`` says how many each has. They are
    weighted so that each depth counts the same: with 16 features of an early unit beside 1280 of
    the last one, a penalty on coefficients would leave little to the early ones.
    """

    mean: Array
    scale: Array

    @classmethod
    def of(cls, features: Tensor, parts: Sequence[int] = ()) -> Self:
        """The scaling of features (N, F)."""
        values = features.cpu().numpy()
        mean = values.mean(axis=0, dtype=np.float64)
        deviation = values.std(axis=0, dtype=np.float64)
        still = deviation <= STILL * np.abs(mean)
        sizes = np.array(parts or [len(mean)])
        depth = np.repeat(np.arange(len(sizes)), sizes)
        usual = [deviation[~still & (depth == at)] for at in range(len(sizes))]
        floor = FLOOR * np.array([np.median(each) if each.size else 0.0 for each in usual])[depth]
        share = np.repeat(np.sqrt(sizes / sizes.mean()), sizes)
        return cls(mean, np.where(still, np.inf, np.maximum(deviation, floor)) * share)

    def apply(self, features: Tensor) -> Array:
        """Features (N, F), scaled, in float64."""
        scaled: Array = (features.cpu().numpy() - self.mean) / self.scale
        return scaled

    def fold(self, weight: Array, bias: Array) -> tuple[Tensor, Tensor]:
        """Weight (K, F) and bias (K,) for scaled features as those for unscaled ones, float32."""
        folded = weight / self.scale
        shifted = bias - folded @ self.mean
        return torch.tensor(folded, dtype=torch.float32), torch.tensor(shifted, dtype=torch.float32)


class Fitter:
    """Fits one training set with one C after another; L-BFGS starts from the solution before.

    Features (N, F) get a scaling of their own; targets are class indices (N,), labels in 0..1
    (N, K), or numbers (N, K). ``exact`` converges to the optimum (`CONVERGED`), else far enough to
    tell one C from another. ``parts`` are those of `Scaling`. Features on a GPU are fitted there
    (`gpu_for`).
    """

    def __init__(
        self,
        kind: Kind,
        features: Tensor,
        targets: Tensor,
        outputs: int,
        *,
        exact: bool = False,
        parts: Sequence[int] = (),
    ) -> None:
        self.kind, self.outputs, self.exact = kind, outputs, exact
        self.scaling = Scaling.of(features, parts)
        # L-BFGS takes half the time in float32; the closed form of ridge would lose its digits.
        single = not exact and kind != "ridge"
        scaled, self.axes = _turned(self.scaling.apply(features))
        scaled = scaled.astype(np.float32 if single else np.float64)
        device = gpu_for(features, outputs)
        self.features = torch.from_numpy(scaled).to(device) if device else scaled
        values = targets.numpy()
        self.by_class = targets.dim() == 1
        self.columns = [values] if self.by_class or kind == "ridge" else list((values > 0.5).T)
        self.estimators = [_solver(kind, exact, device) for _ in self.columns]

    def fit(self, c: float) -> tuple[Tensor, Tensor]:
        """Weight (K, F) and bias (K,) for features as they are, float32, on the CPU.

        The difference of the outputs of two classes is the logit between them, so that a softmax
        gives the solver's own probabilities. A class that is not in the training set has the
        bias -inf.
        """
        fitted = [
            self._fit(estimator, column, c)
            for estimator, column in zip(self.estimators, self.columns, strict=True)
        ]
        weight, bias = (np.concatenate(parts) for parts in zip(*fitted, strict=True))
        if self.by_class:
            weight, bias = self._of_classes(weight, bias)
        if self.axes is not None:
            weight = weight @ self.axes.T
        return self.scaling.fold(weight, bias)

    def _fit(self, estimator: Estimator, column: Array, c: float) -> tuple[Array, Array]:
        if self.kind != "ridge" and len(present := np.unique(column)) < 2:
            # One class only: as sure of it as the number of images allows.
            odds = np.log(2 * len(column) + 1) * (1 if present[0] else -1)
            return np.zeros((1, self.features.shape[1])), np.array([odds])
        options = {"alpha": 1 / c} if self.kind == "ridge" else {"C": c}
        if self.exact and isinstance(estimator, LogisticRegression | Logistic):
            options["tol"] = CONVERGED / max(c, CONVERGED)
        estimator.set_params(**options)
        with warnings.catch_warnings(), limit_blas_threads():
            # A C for which the solver needs longer than it may is still a classifier, and scored.
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(self.features, column)
        return np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)

    def _of_classes(self, weight: Array, bias: Array) -> tuple[Array, Array]:
        """A row for each class, from one for each that is in the training set, or one for two."""
        present = np.unique(self.columns[0])
        if len(present) == 2:
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        rows, biases = np.zeros((self.outputs, weight.shape[1])), np.full(self.outputs, -np.inf)
        rows[present], biases[present] = weight, bias
        return rows, biases


def _turned(scaled: Array) -> tuple[Array, Array | None]:
    """Scaled features (N, F) along the axes (F, R) that the images span, where these are far fewer.

    The penalty is the same along all axes, and what a solution has beside those of the images costs
    and brings nothing. So it is the same solution (the representer theorem), found in less time.
    """
    images, count = scaled.shape
    if images > min(MOST_TURNED, count // 2):
        return scaled, None
    strength, axes = np.linalg.eigh(scaled @ scaled.T)
    spanned = strength > strength[-1] * SPANNED
    if not spanned.any():  # features that do not move at all
        return scaled, None
    turned = axes[:, spanned] * np.sqrt(strength[spanned])
    return turned, scaled.T @ (axes[:, spanned] / np.sqrt(strength[spanned]))


def _solver(kind: Kind, exact: bool, device: torch.device | None) -> Estimator:
    tol, most = (1e-13, 10_000) if exact else (1e-4, 200)
    if kind == "svm":
        return SquaredHinge(tol, most)
    if kind == "ridge":
        return LeastSquares() if device else Ridge()
    how = {"max_iter": most} if exact else {"max_iter": most, "tol": 1e-3}
    return Logistic(**how) if device else LogisticRegression(**how, warm_start=not exact)


def fitting(device: torch.device) -> torch.device:
    """Where features are to lie, of a network on ``device``: there if it is a CUDA device, else on
    the CPU. MPS knows no float64.
    """
    return device if device.type == "cuda" else torch.device("cpu")


def gpu_for(features: Tensor, outputs: int) -> torch.device | None:
    """The GPU that a probe with so many outputs is fitted on: the one where its features lie, if it
    is worth that and has room; None: the CPU does it.
    """
    device = features.device
    if device.type == "cpu" or features.numel() * outputs < LARGE:
        return None
    return device if features.numel() * COPIES * torch.float64.itemsize < free_on(device) else None


@contextmanager
def limit_blas_threads() -> Iterator[None]:
    """A context in which a BLAS that is SciPy's alone uses one thread.

    The wheels of NumPy and SciPy each bring an OpenBLAS with threads of its own, which spin for a
    while after each product. A solver that goes to and fro between the two has each wait for the
    other's: logistic regression took five times as long with two threads as with one. SciPy's part,
    vectors of coefficients, needs no threads. Where both share one library, nothing is to be done.
    """
    with _of_scipy().limit(limits=1, user_api="blas"):
        yield


@cache
def _of_scipy() -> ThreadpoolController:
    libraries = ThreadpoolController()
    paths = [Path(one["filepath"]) for one in libraries.info()]
    # In scipy.libs beside the package, or in scipy/.dylibs.
    own = [str(path) for path in paths if any(p.startswith("scipy") for p in path.parts[-3:-1])]
    return libraries.select(filepath=own)


def best_c(
    kind: Kind,
    task: Task,
    held_out: Sequence[tuple[Split, Split]],
    outputs: int,
    parts: Sequence[int] = (),
) -> tuple[float, dict[float, float]]:
    """The C with the best score over all ``held_out``, each to fit and to score on, and all scores;
    ``parts`` are those of `Scaling`.

    Of equal scores the smaller loss counts, where outputs are logits of probabilities, and else the
    smaller C. (The smallest C of all gives classes all but equal probabilities; with few images its
    score is often as good as any.)
    """
    ranks = {c: rank for c, (_, rank) in along_c(kind, task, held_out, outputs, parts).items()}
    return max(ranks, key=lambda c: ranks[c]), {c: score for c, (score, _) in ranks.items()}


Rank: TypeAlias = tuple[float, float]
"""A score, and of equal ones the smaller loss, negated."""


def along_c(
    kind: Kind,
    task: Task,
    held_out: Sequence[tuple[Split, Split]],
    outputs: int,
    parts: Sequence[int],
) -> dict[float, tuple[list[Tensor], Rank]]:
    """What probes say of all ``held_out`` (as `best_c` has them) and how good that is, by C: from
    the smallest up, until two in a row are no better.
    """
    # Each fit starts from the solution before.
    paths = [Fitter(kind, *fitted, outputs, parts=parts) for fitted, _ in held_out]
    asked = [features.cpu() for _, (features, _) in held_out]
    by_c: dict[float, tuple[list[Tensor], Rank]] = {}
    best = CS[0]
    for tried, c in enumerate(CS):
        logits = [
            nn.functional.linear(features, *path.fit(c))
            for path, features in zip(paths, asked, strict=True)
        ]
        truths = [targets for _, (_, targets) in held_out]
        by_c[c] = logits, rank_of(zip(logits, truths, strict=True), kind, task)
        best = c if by_c[c][1] > by_c[best][1] else best
        if tried - CS.index(best) >= PATIENCE:
            break
    return by_c


def rank_of(outcomes: Iterable[tuple[Tensor, Tensor]], kind: Kind, task: Task) -> Rank:
    """How good outputs (N, K) are for targets, over all parts together."""
    each = list(outcomes)
    score = torch.cat([goodness(*one, task) for one in each]).mean().item()
    return score, -sum(_loss(*one, kind) for one in each)


def _loss(outputs: Tensor, targets: Tensor, kind: Kind) -> float:
    """Of all images together; 0 where outputs are no logits."""
    if kind == "softmax":
        # A class that a fold lacks has probability 0, whatever C is.
        return nn.functional.cross_entropy(
            outputs.clamp(min=LEAST), targets, reduction="sum"
        ).item()
    if kind == "logistic":
        whole = nn.functional.binary_cross_entropy_with_logits
        return whole(outputs, targets, reduction="sum").item()
    return 0.0


def folds(
    targets: Tensor, number: int, seed: int, groups: Sequence[str] = ()
) -> list[tuple[Tensor, Tensor]]:
    """Indices to fit and indices to score, ``number`` times; each image is scored once.

    Classes are spread evenly, however small they are. Images of one group are in one fold; too few
    groups give fewer folds, and one alone is as none.
    """
    if len(set(groups) - {""}):
        labels: list[Sequence[int]] = [()] * len(targets)
        if targets.dim() == 1:
            labels = [(label,) for label in targets.tolist()]
        fold = torch.tensor(allot(labels, groups, [1 / number] * number, seed))
        if len(numbers := sorted(set(fold.tolist()))) > 1:
            return [_held_out(fold, k) for k in numbers]
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    if targets.dim() == 1:
        order = order[targets[order].argsort(stable=True)]
    fold = torch.empty(len(targets), dtype=torch.int64)
    fold[order] = torch.arange(len(targets)) % number
    return [_held_out(fold, k) for k in range(number)]


def _held_out(fold: Tensor, k: int) -> tuple[Tensor, Tensor]:
    return (fold != k).nonzero().flatten(), (fold == k).nonzero().flatten()


def splits(
    features: Tensor, targets: Tensor, indices: Sequence[tuple[Tensor, Tensor]]
) -> list[tuple[Split, Split]]:
    """What is fitted and what is scored, for each pair of indices of `folds`."""
    return [((features[a], targets[a]), (features[b], targets[b])) for a, b in indices]
