"""What the layers of a network know of a dataset, on the images that may choose something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.advice.depths import TOGETHER, Depths, probe_depths
from zoo.advice.growth import Growth, grow
from zoo.advice.reading import Reading
from zoo.domain.progress import Progress
from zoo.domain.result import Result
from zoo.domain.task import Task
from zoo.finetune.strategies.linear import folds

__all__ = ["Layers", "layers_of"]

MOST = 2000
"""Images that probes are fitted on: of more, so many are drawn. What they say is then known to two
points."""
LEAST = 20


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Layers(Result):
    """What probes on the network's features reach, on images that they were not fitted on.

    Attributes:
        images: How many training and validation images were used; test images choose nothing.
        score: What is measured: accuracy; the mean F1 of an image's labels; R2 of numbers.
        depths: A probe at each depth, and on all together.
        growth: What the latter reaches with fewer images, and what more would bring.
    """

    images: int
    score: str
    depths: Depths
    growth: Growth


def layers_of(
    reading: Reading, task: Task, groups: Sequence[str], seed: int, progress: Progress
) -> Layers | None:
    """Probe the features that were read; None where there are too few images to say anything.

    ``groups`` are of all images of the reading: those of one are in one fold.
    """
    rows = _drawn(reading, groups, seed)
    targets, own = reading.targets[rows], [groups[row] for row in rows.tolist()]
    if not _enough(targets):
        return None
    features = {
        tap.unit: values[rows] for tap, values in zip(reading.taps, reading.features, strict=True)
    }
    depths, said = probe_depths(
        features, targets, task=task, groups=own, seed=seed, progress=progress
    )
    growth = grow(
        torch.cat(list(features.values()), dim=1),
        targets,
        task=task,
        c=said[TOGETHER].c,
        parts=[values.shape[1] for values in features.values()],
        groups=own,
        seed=seed,
    )
    return Layers(images=len(rows), score=SCORES[task], depths=depths, growth=growth)


SCORES: dict[Task, str] = {"classification": "accuracy", "multi-label": "f1", "regression": "r2"}


def _drawn(reading: Reading, groups: Sequence[str], seed: int) -> Tensor:
    """Training and validation images; of many, so many that each class keeps its share."""
    rows = reading.where("train", "validation")
    parts = -(-len(rows) // MOST)
    if parts < 2:
        return rows
    own = [groups[row] for row in rows.tolist()]
    return rows[folds(reading.targets[rows], parts, seed, own)[0][1]]


def _enough(targets: Tensor) -> bool:
    if len(targets) < LEAST or targets.dim() > 1:
        return len(targets) >= LEAST
    counts = torch.bincount(targets)
    return len(counts) > 1 and int(counts.min()) > 1
