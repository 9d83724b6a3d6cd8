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
from zoo.finetune.strategies.linear import folds

__all__ = ["LEAST", "MOST", "SCORES", "Layers", "layers_of", "used"]

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
    rows, targets, without = used(reading, task, groups, seed)
    own = [groups[row] for row in rows.tolist()]
    if len(rows) < LEAST or (task == "classification" and int(targets.max()) < 1):
        return None
    if len({name or at for at, name in enumerate(own)}) < FOLDS:
        return None  # a few large groups: whoever is left out leaves too few
    by_depth = {
        tap.unit: values[rows] for tap, values in zip(reading.taps, reading.features, strict=True)
    }
    together = Features(
        values=torch.cat(list(by_depth.values()), dim=1),
        targets=targets,
        task=task,
        parts=[values.shape[1] for values in by_depth.values()],
        groups=own if any(own) else (),
    )
    depths, said = probe_depths(by_depth, together, seed, progress)
    return Layers(
        images=len(rows),
        without=tuple(classes[at] for at in without),
        score=SCORES[task],
        depths=depths,
        growth=grow(together, said.c, seed),
    )


def used(
    reading: Reading, task: Task, groups: Sequence[str], seed: int
) -> tuple[Tensor, Tensor, list[int]]:
    """Training and validation images, of many so many that each class keeps its share; their
    targets, from 0 with none left out; and the classes that are.
    """
    rows = reading.where("train", "validation")
    if (parts := -(-len(rows) // MOST)) > 1:
        own = [groups[row] for row in rows.tolist()]
        rows = rows[folds(reading.targets[rows], parts, seed, own)[0][1]]
    targets = reading.targets[rows]
    if task != "classification":
        return rows, targets, []
    counts = torch.bincount(targets, minlength=int(reading.targets.max()) + 1)
    enough = counts > 1
    kept = enough[targets]
    number = enough.cumsum(0) - 1
    return rows[kept], number[targets[kept]], (~enough).nonzero().flatten().tolist()
