"""Measure one network on images: one pass through it, then probes and scores on its features."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from zoo.advice.depths import TOGETHER, error_of_mean, probe_depths
from zoo.advice.held_out import FOLDS
from zoo.advice.layers import LEAST, features_of, judging
from zoo.advice.reading import read
from zoo.backbones.taps import HEAD
from zoo.domain.task import Task
from zoo.errors import InvalidData
from zoo.finetune.dataset.batches import targets_of
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.results.interval import independent
from zoo.finetune.setup.prepare import PreparedRun
from zoo.ranking.cost import cost_of
from zoo.ranking.h_score import h_score
from zoo.ranking.knn import neighbors_know
from zoo.ranking.logme import logme
from zoo.ranking.measured import FeatureScores

__all__ = ["Judges", "judges_of", "measure"]


@dataclass(frozen=True, slots=True)
class Judges:
    """The images that networks are judged by."""

    dataset: Dataset  # with these for training images, and no others
    targets: Tensor  # of each; of classes from 0 with none left out
    groups: tuple[str, ...]  # of each; empty: each is alone
    without: tuple[str, ...]  # classes of which there are too few

    @property
    def chance(self) -> float | None:
        """The share of the largest class: what needs no image to be right; None: no classes."""
        if self.dataset.task != "classification":
            return None
        return self.targets.bincount().max().item() / len(self.targets)


def judges_of(dataset: Dataset, seed: int) -> Judges:
    """The training and validation images of a dataset; of very many so many as tell enough, in
    which each class keeps its share. Test images choose nothing.

    Raises:
        InvalidData: They are too few, of one class, or of too few groups.
    """
    samples = (*dataset.train, *dataset.validation)
    every = targets_of(samples, dataset.task)
    rows, targets, without = judging(every, dataset.task, len(dataset.classes), seed)
    chosen = tuple(samples[row] for row in rows.tolist())
    if dataset.task == "classification":
        _check_classes(dataset, int(targets.max()) + 1 if len(targets) else 0)
    groups = [dataset.groups.get(sample.key, "") for sample in chosen]
    _check_number(dataset, len(chosen), len({name or at for at, name in enumerate(groups)}))
    return Judges(
        dataset=replace(dataset, train=chosen, validation=(), test=()),
        targets=targets,
        groups=tuple(groups) if any(groups) else (),
        without=tuple(dataset.classes[at] for at in without),
    )


def _check_classes(dataset: Dataset, classes: int) -> None:
    if classes < 2:
        raise InvalidData(
            dataset.spec,
            [
                "networks are ranked by how well they tell classes apart, and there are "
                f"{classes} with two training or validation images"
            ],
        )


def _check_number(dataset: Dataset, images: int, groups: int) -> None:
    if images < LEAST or groups < FOLDS:
        raise InvalidData(
            dataset.spec,
            [
                f"{images} training and validation images in {groups} groups are too few to rank "
                f"networks by: {LEAST} in {FOLDS} are needed"
            ],
        )


def measure(prepared: PreparedRun, judges: Judges, batch_size: int, folder: Path) -> FeatureScores:
    """Measure the network of ``prepared`` on the images; see `read` for the ``folder``.

    Raises:
        Unsupported: It gives no features before its head.
        InvalidImage: An image became unreadable since it was checked.
    """
    begun = time.monotonic()
    recipe, task = prepared.recipe, prepared.task
    size = prepared.network.planned.preprocessing.input_size
    ms, macs = cost_of(prepared.model, size, prepared.device)
    reading = read(prepared, batch_size, folder, judges.dataset)
    rows = torch.arange(len(reading.samples))
    by_depth, together = features_of(reading, rows, judges.targets, task, judges.groups)
    depths, held_out = probe_depths(by_depth, together, recipe.seed, prepared.progress)
    all_of_them, targets = depths[TOGETHER], judges.targets
    last = by_depth[HEAD].double().numpy()
    return FeatureScores(
        manifest=str(prepared.parent),
        data_digest=judges.dataset.digest,
        image_size=size[1],
        score=float(all_of_them.score),
        low=float(all_of_them.low),
        high=float(all_of_them.high),
        error=error_of_mean(held_out.scores, independent(held_out.scores, judges.groups)),
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
        scores=tuple(held_out.scores.tolist()),
    )


def _columns(targets: Tensor, task: Task) -> Tensor:
    """Targets as LogME has them: a column for each class or label; numbers of one scale."""
    if task == "classification":
        return one_hot(targets).double()
    columns = targets.double()
    if task == "multi-label":
        return columns
    return (columns - columns.mean(dim=0)) / columns.std(dim=0).clamp(min=1e-12)
