"""The depth curve: how well a probe does at each unit, and which one to take.

Validation is nested: C is chosen inside the images that a probe is fitted on, and its score is on
images that chose nothing. The test split is never looked at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.backbones.features import extract
from zoo.backbones.taps import Tap, find_taps
from zoo.domain.plain import Json
from zoo.domain.progress import Progress
from zoo.domain.task import Task
from zoo.errors import InvalidOption
from zoo.finetune.features.loaders import Loader, image_loaders
from zoo.finetune.results.journal import Journal
from zoo.finetune.setup.prepare import PreparedRun, truncated
from zoo.finetune.strategies.depths import alike, at_units
from zoo.finetune.strategies.linear import (
    Fitter,
    Kind,
    Split,
    best_c,
    fitting,
    folds,
    goodness,
    kind_for,
    splits,
)
from zoo.finetune.strategies.probe import FOLDS, check_features, neighbors
from zoo.store.atomic import write_whole

__all__ = ["Curve", "Point", "at_depth", "depth_curve"]

DEPTH = "depth.json"
AMPLE = 1000
"""Images of a validation split from which it alone tells one unit from another; below, training
images are held out in turn as well."""
NEIGHBORS = 5


@dataclass(frozen=True, slots=True)
class Point:
    """A probe at one unit."""

    unit: str  # or "head"
    features: int  # how many there are
    score: float  # mean `goodness` of the images held out
    error: float  # standard error of the score
    knn: float | None  # accuracy of the nearest vectors' vote; None where targets are no classes


@dataclass(frozen=True, slots=True)
class Curve:
    """Probes at all units, in order of depth; ``chosen`` is the index of the one to take."""

    points: tuple[Point, ...]
    chosen: int

    def to_json(self) -> Json:
        """Plain data for JSON."""
        return {
            "chosen": self.points[self.chosen].unit,
            "points": [asdict(point) for point in self.points],
        }


def depth_curve(
    features_by_tap: Sequence[tuple[Tap, Tensor]],
    targets: Tensor,
    *,
    validation: tuple[Sequence[Tensor], Tensor] | None,
    task: Task,
    kind: Literal["softmax", "svm"],
    seed: int,
    groups: Sequence[str] = (),
    device: torch.device,
    progress: Progress,
) -> Curve:
    """Score a probe at each tap, fitted on ``device``, in order of depth, and choose one of them.

    Scores are on the validation split, and where it is small or missing, on training images, a
    third held out at a time. Features and the rest are as `fit_probe` has them.
    """
    solver = kind_for(task, kind)
    groups = groups or [""] * len(targets)
    held_out = folds(targets, FOLDS, seed, groups)
    if validation and len(validation[1]) >= AMPLE:
        held_out = []
    grouped = [[groups[row] for row in fitted] for fitted, _ in held_out] + [groups]
    points, scores = list[Point](), list[Tensor]()
    with progress("probing each unit", len(features_by_tap)) as bar:
        for at, (tap, features) in enumerate(features_by_tap):
            outputs = check_features(features, targets)
            if at and alike(features_by_tap[at - 1][1], features):
                points.append(replace(points[-1], unit=tap.unit))
                scores.append(scores[-1])
            else:
                there = features.to(device)  # of one unit at a time
                parts = splits(there, targets, held_out)
                if validation:
                    parts.append(((there, targets), (validation[0][at].to(device), validation[1])))
                score = _scored(parts, grouped, outputs, solver, task, seed)
                scores.append(score)
                mean, error = score.double().mean().item(), _standard_error(score)
                points.append(Point(tap.unit, tap.features, mean, error, _nearest(parts, task)))
            bar.advance(note=tap.unit)
    last = features_by_tap[-1][1]
    return Curve(tuple(points), _choose(scores, [alike(c, last) for _, c in features_by_tap]))


def _scored(
    parts: Sequence[tuple[Split, Split]],
    groups: Sequence[Sequence[str]],
    outputs: int,
    kind: Kind,
    task: Task,
    seed: int,
) -> Tensor:
    """The goodness of each image that is held out, of all parts."""
    scores = []
    for ((features, targets), (val_features, truth)), grouped in zip(parts, groups, strict=False):
        inner = splits(features, targets, folds(targets, FOLDS, seed, grouped))
        c, _ = best_c(kind, task, inner, outputs)
        weight, bias = Fitter(kind, features, targets, outputs).fit(c)
        scores.append(goodness(nn.functional.linear(val_features.cpu(), weight, bias), truth, task))
    return torch.cat(scores)


def _nearest(parts: Sequence[tuple[Split, Split]], task: Task) -> float | None:
    if task != "classification":
        return None
    right = images = 0.0
    for (features, targets), val_split in parts:
        k = min(NEIGHBORS, len(features))
        right += neighbors(features, targets, val_split, (k,))[k] * len(val_split[1])
        images += len(val_split[1])
    return right / images


def _choose(good: Sequence[Tensor], as_last: Sequence[bool]) -> int:
    """The shallowest whose score is within one standard error of the best one's.

    One that cannot be told from the best is as good, and a shallower network is smaller and
    faster. The error is that of the difference, image by image.
    """
    best = max(good, key=lambda each: each.mean().item())
    for at, each in enumerate(good):
        less = best - each
        if less.mean().item() <= _standard_error(less):
            # What gives the last features is the whole network: there is nothing to truncate.
            return len(good) - 1 if as_last[at] else at
    raise AssertionError("unreachable: the best is as good as itself")


def _standard_error(values: Tensor) -> float:
    deviation: float = values.double().std().item()
    return deviation / math.sqrt(len(values))


def at_depth(prepared: PreparedRun, journal: Journal) -> PreparedRun:
    """The network ended at the units that the recipe names, or at the one that does best.

    That one is found on training and validation images; the curve over all depths is written to
    the run's folder. Raises as `truncated`.
    """
    if prepared.recipe.at != "auto":
        return at_units(prepared)
    return truncated(prepared, [prepared.ranks.on_main(lambda: _best_depth(prepared, journal))])


def _best_depth(prepared: PreparedRun, journal: Journal) -> str:
    from zoo.finetune.results.pictures import draw_depth  # loads matplotlib

    loaders = image_loaders(prepared)
    first = next(loaders.plain.whole()).inputs
    taps = find_taps(prepared.model, prepared.hierarchy, first)
    if len(taps) < 2:
        raise InvalidOption(f"{prepared.hierarchy.architecture} has features at one unit only")

    def read(loader: Loader) -> tuple[list[Tensor], Tensor]:
        batches = ((batch.inputs, batch.targets) for batch in loader.whole())
        return extract(prepared.model, taps, batches, task)

    images = len(prepared.dataset.train) + len(prepared.dataset.validation)
    with prepared.progress("reading features at all depths", images) as task:
        features, targets = read(loaders.plain)
        validation = read(loaders.validation) if loaders.validation else None
    curve = depth_curve(
        list(zip(taps, features, strict=True)),
        targets,
        validation=validation,
        task=prepared.task,
        kind="svm" if prepared.recipe.probe == "svm" else "softmax",
        seed=prepared.recipe.seed,
        groups=prepared.dataset.train_groups,
        device=fitting(prepared.device),
        progress=prepared.progress,
    )
    folder = journal.run.folder
    write_whole(folder / DEPTH, [json.dumps(curve.to_json(), indent=2).encode()])
    draw_depth(curve).savefig(folder / "depth.png")
    return taps[curve.chosen].unit
