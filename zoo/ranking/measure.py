"""Measure one network on images: one pass through it, then probes and scores on its features."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from zoo.advice.depths import TOGETHER, error_of_mean, independent, probe_depths
from zoo.advice.held_out import FOLDS, Features
from zoo.advice.layers import LEAST, MOST, used
from zoo.advice.reading import Reading, read
from zoo.backbones.taps import HEAD
from zoo.domain.task import Task
from zoo.errors import InvalidData
from zoo.finetune.dataset.batches import targets_of
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.setup.prepare import Prepared
from zoo.finetune.strategies.linear import folds
from zoo.ranking.cost import cost_of
from zoo.ranking.h_score import h_score
from zoo.ranking.knn import neighbors_know
from zoo.ranking.logme import logme
from zoo.ranking.measured import Measured

__all__ = ["Judges", "judges_of", "measure"]


@dataclass(frozen=True, slots=True)
class Judges:
    """The images that networks are judged by."""

    dataset: Dataset  # with these for training images, and no others
    groups: tuple[str, ...]  # of each; empty: each is alone
    without: tuple[str, ...]  # classes of which there are too few

    @property
    def chance(self) -> float | None:
        """The share of the largest class: what needs no image to be right; None: no classes."""
        if self.dataset.task != "classification":
            return None
        counts = Counter(sample.target for sample in self.dataset.train)
        return max(counts.values()) / counts.total()


def judges_of(dataset: Dataset, seed: int) -> Judges:
    """The training and validation images of a dataset; of very many so many as tell enough, in
    which each class keeps its share. Test images choose nothing.

    Raises:
        InvalidData: They are too few, of one class, or of too few groups.
    """
    samples = (*dataset.train, *dataset.validation)
    targets = targets_of(samples, dataset.task)
    groups = [dataset.groups.get(sample.key, "") for sample in samples]
    if (parts := -(-len(samples) // MOST)) > 1:
        chosen = sorted(folds(targets, parts, seed, groups)[0][1].tolist())
        samples = tuple(samples[at] for at in chosen)
        targets, groups = targets[chosen], [groups[at] for at in chosen]
    without: list[int] = []
    if dataset.task == "classification":
        counts = torch.bincount(targets, minlength=len(dataset.classes))
        without = (counts < 2).nonzero().flatten().tolist()
        left = [at for at, target in enumerate(targets.tolist()) if target not in without]
        samples, groups = tuple(samples[at] for at in left), [groups[at] for at in left]
        _check_classes(dataset, {sample.target for sample in samples})
    _check_number(dataset, len(samples), len({name or at for at, name in enumerate(groups)}))
    return Judges(
        dataset=replace(dataset, train=samples, validation=(), test=()),
        groups=tuple(groups) if any(groups) else (),
        without=tuple(dataset.classes[at] for at in without),
    )


def _check_classes(dataset: Dataset, classes: set[object]) -> None:
    if len(classes) < 2:
        raise InvalidData(
            dataset.spec,
            ["networks are ranked by how well they tell classes apart, and there are "
             f"{len(classes)} with two training or validation images"],
        )  # fmt: skip


def _check_number(dataset: Dataset, images: int, groups: int) -> None:
    if images < LEAST or groups < FOLDS:
        raise InvalidData(
            dataset.spec,
            [f"{images} training and validation images in {groups} groups are too few to rank "
             f"networks by: {LEAST} in {FOLDS} are needed"],
        )  # fmt: skip


def measure(prepared: Prepared, judges: Judges, batch_size: int) -> Measured:
    """Measure the network of ``prepared`` on the images.

    Raises:
        Unsupported: It gives no features before its head.
        InvalidImage: An image became unreadable since it was checked.
    """
    begun = time.monotonic()
    recipe, task = prepared.recipe, prepared.task
    size = prepared.network.planned.preprocessing.input_size
    ms, macs = cost_of(prepared.model, size, prepared.device)
    reading = read(replace(prepared, dataset=judges.dataset), batch_size)
    by_depth, together = _features(reading, judges, task, recipe.seed)
    depths, said = probe_depths(by_depth, together, recipe.seed, prepared.progress)
    all_of_them, targets = depths[TOGETHER], together.targets
    last = by_depth[HEAD].double().numpy()
    return Measured(
        manifest=str(prepared.parent),
        data_digest=judges.dataset.digest,
        image_size=size[1],
        score=float(all_of_them.score),
        low=float(all_of_them.low),
        high=float(all_of_them.high),
        error=error_of_mean(said.scores, independent(said.scores, judges.groups)),
        depth=depths.best_single,
        depth_score=depths[depths.best_single].score,
        last_score=depths[HEAD].score,
        knn=neighbors_know(by_depth[HEAD], targets, task, judges.groups),
        logme=logme(last, _columns(targets, task).numpy()),
        h_score=h_score(last, targets.numpy()) if task == "classification" else None,
        ms=ms,
        gmacs=None if macs is None else macs / 1e9,
        device=str(prepared.device),
        seconds=time.monotonic() - begun,
        scores=tuple(said.scores.tolist()),
    )


def _features(
    reading: Reading, judges: Judges, task: Task, seed: int
) -> tuple[dict[str, Tensor], Features]:
    """Features (N, F) by unit, and all of them beside each other."""
    rows, targets, _ = used(reading, task, judges.groups or [""] * len(reading.samples), seed)
    by_depth = {
        tap.unit: values[rows] for tap, values in zip(reading.taps, reading.features, strict=True)
    }
    return by_depth, Features(
        values=torch.cat(list(by_depth.values()), dim=1),
        targets=targets,
        task=task,
        parts=[values.shape[1] for values in by_depth.values()],
        groups=judges.groups,
    )


def _columns(targets: Tensor, task: Task) -> Tensor:
    """Targets as LogME has them: a column for each class or label; numbers of one scale."""
    if task == "classification":
        return one_hot(targets).double()
    columns = targets.double()
    if task == "multi-label":
        return columns
    return (columns - columns.mean(dim=0)) / columns.std(dim=0).clamp(min=1e-12)
