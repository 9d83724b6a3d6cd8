"""Probes: linear classifiers on features, which become ordinary linear heads."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from zoo.domain.task import Task
from zoo.errors import InvalidOption, Unsupported
from zoo.finetune.setup.prepare import LEAST
from zoo.finetune.strategies.linear import Fitter, Kind, Split, best_c, folds, kind_for

__all__ = ["Probe", "check_features", "fit_probe", "install", "neighbors"]

FOLDS = 3
NEIGHBORS = (1, 3, 5, 10, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A linear head for features as they are: the scaling is folded in.

    Attributes:
        kind: How it was fitted.
        weight: (K, F), float32.
        bias: (K,), float32.
        c: The C that was chosen.
        scores: The score of each C that was tried (`zoo.finetune.strategies.linear.goodness`).
        seconds: Time that choosing and fitting took.
    """

    kind: Kind
    weight: Tensor
    bias: Tensor
    c: float
    scores: Mapping[float, float]
    seconds: float


def fit_probe(
    features: Tensor,
    targets: Tensor,
    *,
    task: Task = "classification",
    kind: Literal["softmax", "svm"] = "softmax",
    validation: Split | None = None,
    seed: int = 0,
    groups: Sequence[str] = (),
) -> Probe:
    """Fit a linear head on features (N, F), with the C that does best on the validation split.

    Without one, C is chosen by stratified cross-validation of the features. The head is fitted on
    ``features`` alone, so that the score on the validation split stays an honest one of that C.

    Args:
        features: What the head will get, float32 (N, F) on the CPU.
        targets: Class indices (N,) from 0 with none left out, labels in 0..1 (N, K), or numbers
            (N, K).
        task: What the targets are.
        kind: For classes. Labels take a logistic regression each in the place of the softmax, and
            numbers ridge regression.
        validation: Features and targets to choose C by.
        seed: Seeds the folds.
        groups: Of each image; those of one stay in one fold (see `folds`).

    Raises:
        InvalidOption: There are no support vectors for regression, or too few images.
        Unsupported: Features are NaN or infinite.
    """
    began = time.perf_counter()
    solver = kind_for(task, kind)
    outputs = check_features(features, targets)
    if validation:
        parts = [((features, targets), validation)]
    else:
        parts = [
            ((features[fit], targets[fit]), (features[val], targets[val]))
            for fit, val in folds(targets, FOLDS, seed, groups)
        ]
    c, scores = best_c(solver, task, parts, outputs)
    weight, bias = Fitter(solver, features, targets, outputs, exact=True).fit(c)
    return Probe(
        kind=solver,
        weight=weight,
        bias=bias,
        c=c,
        scores=scores,
        seconds=time.perf_counter() - began,
    )


def check_features(features: Tensor, targets: Tensor) -> int:
    """The number of outputs that the targets ask for.

    Raises:
        InvalidOption: Too few images, or a class without one.
        Unsupported: Features are NaN or infinite.
    """
    if len(features) < LEAST:
        raise InvalidOption(f"{len(features)} images are too few for a probe: at least {LEAST}")
    if not features.isfinite().all():
        raise Unsupported("the network's features are NaN or infinite: no probe can use them")
    if targets.dim() > 1:
        return targets.shape[1]
    counts = torch.bincount(targets)
    if len(counts) < 2 or not counts.all():
        raise InvalidOption("a probe needs at least two classes, and an image of each to fit it on")
    return len(counts)


def install(probe: Probe, head: nn.Module) -> None:
    """Copy the probe into a linear head.

    Raises:
        Unsupported: The head is no linear layer with a bias and of the probe's size.
    """
    if not isinstance(head, nn.Linear) or head.bias is None:
        raise Unsupported(f"a probe fits a linear head with a bias, not {type(head).__name__}")
    if head.weight.shape != probe.weight.shape:
        raise Unsupported(
            f"the probe is {tuple(probe.weight.shape)}, the head {tuple(head.weight.shape)}"
        )
    with torch.no_grad():
        head.weight.copy_(probe.weight)
        head.bias.copy_(probe.bias)


def neighbors(
    features: Tensor, labels: Tensor, validation: Split, ks: Sequence[int] = NEIGHBORS
) -> dict[int, float]:
    """Accuracy on the validation split of the vote of the k nearest feature vectors, by k.

    Nearest by angle. An indicator only: it costs next to nothing, and follows what training
    would reach. A k larger than the number of images is left out.
    """
    val_features, truth = validation
    accuracies = {}
    for k in ks:
        if k <= len(features):
            model = KNeighborsClassifier(k, metric="cosine").fit(features.numpy(), labels.numpy())
            accuracies[k] = float(model.score(val_features.numpy(), truth.numpy()))
    return accuracies
