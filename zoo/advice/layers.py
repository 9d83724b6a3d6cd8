"""What the layers of a network know of a dataset, on the images that may choose something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.advice.depths import Depths, probe_depths
from zoo.advice.growth import Growth, grow
from zoo.advice.held_out import FOLDS, Features
from zoo.advice.reading import Reading
from zoo.domain.progress import Progress
from zoo.domain.result import Result
from zoo.domain.task import Task

__all__ = ["LEAST", "SCORES", "Layers", "features_of", "judging", "layers_of"]

MOST = 2000
"""Images that probes are fitted on: of more, so many are drawn. What they say is then known to two
points."""
LEAST = 20
SCORES: dict[Task, str] = {"classification": "accuracy", "multi-label": "f1", "regression": "r2"}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Layers(Result):
    """What probes on the network's features reach, on images that they were not fitted on.

    Attributes:
        images: How many training and validation images were used; test images choose nothing.
        without: Classes that are left out, as fewer than two of these images are theirs.
        score: What is measured: accuracy; the mean F1 of an image's labels; R2 of numbers.
        depths: A probe at each depth, and on all together.
        growth: What the latter reaches with fewer images, and what more would bring; None where
            groups leave too few sizes to say.
    """

    images: int
    without: tuple[str, ...]
    score: str
    depths: Depths
    growth: Growth | None


def layers_of(
    reading: Reading,
    task: Task,
    classes: Sequence[str],
    groups: Sequence[str],
    seed: int,
    progress: Progress,
) -> Layers | None:
    """Probe the features that were read; None where there are too few images to say anything.

    ``groups`` are of all images of the reading: those of one are in one fold.
    """
    rows = reading.where("train", "validation")
    chosen, targets, without = judging(reading.targets[rows], task, len(classes), seed)
    rows = rows[chosen]
    own = [groups[row] for row in rows.tolist()]
    if len(rows) < LEAST or (task == "classification" and int(targets.max()) < 1):
        return None
    if len({name or at for at, name in enumerate(own)}) < FOLDS:
        return None  # a few large groups: whoever is left out leaves too few
    by_depth, together = features_of(reading, rows, targets, task, own)
    depths, held_out = probe_depths(by_depth, together, seed, progress, reading.end)
    scores = ", ".join(f"{each.at} {each.score:.3f}" for each in depths.depths)
    # Long before the rest.
    progress.say(f"{SCORES[task]} of a probe at each depth: {scores}")
    return Layers(
        images=len(rows),
        without=tuple(classes[at] for at in without),
        score=SCORES[task],
        depths=depths,
        growth=grow(together, held_out.c, seed),
    )


def judging(
    targets: Tensor, task: Task, classes: int, seed: int
) -> tuple[Tensor, Tensor, list[int]]:
    """Which of the images with these ``targets`` networks are judged by: of more than `MOST` so
    many, in which each class keeps its share, and only those of classes with two of these or more.

    Returns:
        Their indices in order; their targets, of classes from 0 with none left out; and the classes
        that are left out.
    """
    rows = torch.arange(len(targets))
    if len(rows) > MOST:
        rows = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        if task == "classification":  # of all, ordered by class, those in equal steps
            rows = rows[targets[rows].argsort(stable=True)]
            rows = rows[torch.arange(MOST) * len(rows) // MOST]
        rows = rows[:MOST].sort().values
    targets = targets[rows]
    if task != "classification":
        return rows, targets, []
    enough = torch.bincount(targets, minlength=classes) > 1
    kept = enough[targets]
    number = enough.cumsum(0) - 1
    return rows[kept], number[targets[kept]], (~enough).nonzero().flatten().tolist()


def features_of(
    reading: Reading, rows: Tensor, targets: Tensor, task: Task, groups: Sequence[str]
) -> tuple[dict[str, Tensor], Features]:
    """Features (N, F) of these rows at each depth, and all depths beside each other.

    ``targets`` and ``groups`` are of these rows.
    """
    by_depth = {
        tap.unit: values[rows] for tap, values in zip(reading.taps, reading.features, strict=True)
    }
    return by_depth, Features(
        values=torch.cat(list(by_depth.values()), dim=1),
        targets=targets,
        task=task,
        parts=[values.shape[1] for values in by_depth.values()],
        groups=groups if any(groups) else (),
        device=reading.device,
    )
