"""Probes: linear classifiers on features, which become ordinary linear heads."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from scipy.stats import mode
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from zoo.backbones.freeze import trained_norms
from zoo.backbones.surgery import SurgeryBackbone
from zoo.domain.recipe import FOLLOWING
from zoo.domain.task import Task
from zoo.errors import InvalidOption, Unsupported
from zoo.finetune.features.loaders import Loader, Loaders
from zoo.finetune.loop.evaluate import live_norms, predict, recalibrate, validate
from zoo.finetune.loop.state import SavedState, State
from zoo.finetune.results.journal import Journal
from zoo.finetune.setup.prepare import LEAST, PreparedRun
from zoo.finetune.strategies.blend import FIRST
from zoo.finetune.strategies.linear import (
    Fitter,
    Kind,
    Split,
    best_c,
    fitting,
    folds,
    kind_for,
    splits,
)

__all__ = [
    "PROBE",
    "Probe",
    "begin",
    "check_features",
    "fit_probe",
    "install",
    "neighbors",
    "probe",
    "probe_heads",
    "recalibrate_norms",
]

PROBE = "probe"
"""What the weights are called that training begins with, where a probe was fitted."""
AT_ONCE = 1 << 27
"""Distances that a GPU computes at once, half a GB."""
FOLDS = 3
NEIGHBORS = (1, 3, 5, 10, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A linear head for features as they are: the scaling is folded in."""

    kind: Kind
    weight: Tensor  # (K, F), float32
    bias: Tensor  # (K,), float32
    c: float
    scores: Mapping[float, float]  # of each C that was tried (`goodness`)
    seconds: float  # that choosing and fitting took


def fit_probe(
    features: Tensor,
    targets: Tensor,
    *,
    task: Task = "classification",
    kind: Literal["softmax", "svm"] = "softmax",
    validation: Split | None = None,
    seed: int = 0,
    groups: Sequence[str] = (),
    parts: Sequence[int] = (),
) -> Probe:
    """Fit a linear head on features (N, F), with the C that does best on the validation split.

    Without one, C is chosen by stratified cross-validation of the features. The head is fitted on
    ``features`` alone, so that the score on the validation split stays an honest one of that C.

    Args:
        features: What the head will get, float32 (N, F), where the probe is to be fitted.
        targets: Class indices (N,) from 0 with none left out, labels in 0..1 (N, K), or numbers
            (N, K).
        task: What the targets are.
        kind: For classes; labels and numbers have their own (`kind_for`).
        validation: Features and targets to choose C by.
        seed: Seeds the folds.
        groups: Of each image; those of one stay in one fold.
        parts: How many features each depth has; those of one are beside each other.

    Raises:
        InvalidOption, Unsupported: See `kind_for` and `check_features`.
    """
    began = time.perf_counter()
    solver = kind_for(task, kind)
    outputs = check_features(features, targets)
    held_out = [((features, targets), validation)] if validation else []
    held_out = held_out or splits(features, targets, folds(targets, FOLDS, seed, groups))
    c, scores = best_c(solver, task, held_out, outputs, parts)
    weight, bias = Fitter(solver, features, targets, outputs, exact=True, parts=parts).fit(c)
    seconds = time.perf_counter() - began
    return Probe(kind=solver, weight=weight, bias=bias, c=c, scores=scores, seconds=seconds)


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
    """Copy the probe into a linear head; raises `Unsupported` where it is no head of its size."""
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
    """Accuracy on the validation split of the vote of the k nearest vectors, by angle, for each k.

    A hint only: it costs next to nothing, and follows what training would reach. A k larger than
    the number of images is left out.
    """
    asked = [k for k in ks if k <= len(features)]
    if not asked:
        return {}
    nearest = _nearest_on_gpu if features.device.type == "cuda" else _nearest
    votes, truth = (
        labels[nearest(features, validation[0], max(asked))].numpy(),
        validation[1].numpy(),
    )
    return {k: float((mode(votes[:, :k], axis=1).mode == truth).mean()) for k in asked}


def _nearest(known: Tensor, asked: Tensor, count: int) -> Tensor:
    """Indices (N, count) of the vectors that are known nearest to each that is asked, by angle."""
    model = NearestNeighbors(n_neighbors=count, metric="cosine").fit(known.numpy())
    return torch.from_numpy(model.kneighbors(asked.numpy(), return_distance=False))


def _nearest_on_gpu(known: Tensor, asked: Tensor, count: int) -> Tensor:
    """`_nearest`, on a device that does large products."""
    units, at_once = nn.functional.normalize(known), max(AT_ONCE // len(known), 1)
    some = (nn.functional.normalize(part) @ units.T for part in torch.split(asked, at_once))
    return torch.cat([each.topk(count).indices.cpu() for each in some])


def begin(
    prepared: PreparedRun,
    loaders: Callable[[int], Loaders],
    journal: Journal,
    state: State,
    saved: SavedState | None,
) -> None:
    """Bring a training to where it was ``saved``; if it was not, do what comes before training."""
    # After the network was made: its head is the same in all ranks, its dropout is not.
    prepared.ranks.seed(prepared.recipe.seed)
    if saved:
        state.load(saved)
    else:
        probe(prepared, loaders, journal, state)


def probe(
    prepared: PreparedRun,
    loaders: Callable[[int], Loaders],
    journal: Journal,
    state: State,
) -> None:
    """Before training: recalibrate batch norm, and fit a probe, if the strategy begins with one;
    all ranks have it then.
    """
    ranks, fitted = prepared.ranks, prepared.recipe.fits_head
    recalibrate_norms(prepared, loaders)
    if fitted:
        parts = loaders(prepared.boundaries[0] if prepared.boundaries else prepared.units)
        choices = ranks.on_main(lambda: probe_heads(prepared, parts))
        metrics = ranks.on_main(lambda: validate(prepared, parts, journal.of_images(PROBE, 0)))
        state.consider(PROBE, metrics)
        journal.note("probe", 0, **choices, **metrics)
        journal.say(state.summary("probe", metrics))
    ranks.sync(state.live)
    if fitted and prepared.phases:
        state.keep(FIRST)
    # After the first weights: a run that is resumed from here needs them.
    if fitted:
        state.save(None)


def recalibrate_norms(prepared: PreparedRun, loaders: Callable[[int], Loaders]) -> None:
    """Give batch norms the statistics of the training images, where the recipe says so, or where
    they are live and a probe comes first: it is to see what training will.
    """
    recipe, model = prepared.recipe, prepared.model
    kept = recipe.batch_norm == "recalibrated"
    if not kept and not (recipe.fits_head and recipe.batch_norm in FOLLOWING):
        return
    parts = loaders(prepared.lowest)
    trained = list(trained_norms(model, prepared.hierarchy, prepared.lowest).values())
    norms = trained if kept else live_norms(model)
    prepared.ranks.on_main(lambda: recalibrate(prepared, parts.plain, norms))


def probe_heads(prepared: PreparedRun, loaders: Loaders) -> dict[str, object]:
    """Fit a probe on what each head gets, and give it to the head.

    Where a fold is held out, it does not choose C: what is said of it is out of fold, and its
    images can be so few that the best of seven looks much better than it is.

    Returns the C of each, and what the nearest neighbors' vote would reach, for the journal.
    """
    images = len(prepared.dataset.train) + len(prepared.dataset.validation)
    with prepared.progress("reading features", images) as task:
        train, targets = _head_inputs(prepared, loaders.plain, task.advance)
        validation = None
        if loaders.validation:
            validation = _head_inputs(prepared, loaders.validation, task.advance)
    chooses = validation if not prepared.recipe.fold else None
    chosen, backbone = [], prepared.network.backbone
    parts = backbone.parts if isinstance(backbone, SurgeryBackbone) else ()
    for at, head in enumerate(prepared.network.heads):
        fitted = fit_probe(
            train[at],
            targets,
            task=prepared.task,
            kind="svm" if prepared.recipe.probe == "svm" else "softmax",
            validation=(chooses[0][at], chooses[1]) if chooses else None,
            seed=prepared.recipe.seed,
            groups=prepared.dataset.train_groups,
            parts=parts,
        )
        install(fitted, head)
        chosen.append(fitted.c)
    if validation and prepared.task == "classification":
        return {"c": chosen, "knn": neighbors(train[0], targets, (validation[0][0], validation[1]))}
    return {"c": chosen}


def _head_inputs(
    prepared: PreparedRun, loader: Loader, advance: Callable[[int], None]
) -> tuple[list[Tensor], Tensor]:
    """What each head gets of all images (N, F), where it is fitted, and their targets."""
    heads, where = prepared.network.heads, fitting(prepared.device)
    inputs: list[list[Tensor]] = [[] for _ in heads]
    with ExitStack() as hooks:
        for head, into in zip(heads, inputs, strict=True):

            def keep(_: nn.Module, args: tuple[Tensor, ...], into: list[Tensor] = into) -> None:
                into.append(args[0].float().to(where))

            hooks.enter_context(head.register_forward_pre_hook(keep))
        precision = prepared.recipe.precision
        _, targets = predict(prepared.model, loader.whole(), loader.forward, precision, advance)
    return [torch.cat(parts) for parts in inputs], targets
