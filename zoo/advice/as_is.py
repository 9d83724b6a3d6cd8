"""As it is: what the base says by itself, where it has the classes of the images already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from zoo.advice.layers import judging
from zoo.backbones.load import load
from zoo.backbones.taps import REFUSALS
from zoo.errors import ZooError
from zoo.finetune.dataset.augment import training_transform
from zoo.finetune.dataset.batches import Batches, targets_of
from zoo.finetune.dataset.dataset import Sample
from zoo.finetune.dataset.match import match
from zoo.finetune.features.loaders import ImageLoader
from zoo.finetune.loop.evaluate import predict
from zoo.finetune.results.goodness import goodness
from zoo.finetune.setup.prepare import PreparedRun
from zoo.workspace import Workspace

__all__ = ["AS_IT_IS", "AsItIs", "as_it_is"]

AS_IT_IS = "as it is"
"""What the base is called that is not trained."""


@dataclass(frozen=True, slots=True)
class AsItIs:
    """The base without any training.

    Attributes:
        scores: The score of each image (`goodness`), by key.
        megabytes: Its size.
    """

    scores: Mapping[str, float]
    megabytes: float


def as_it_is(workspace: Workspace, prepared: PreparedRun, batch_size: int) -> AsItIs | None:
    """What the base, unchanged, says of the images that probes are fitted on; None where its
    classes are others, or it cannot be asked.
    """
    index = _classes_of(prepared)
    if index is None:
        return None
    samples = _judges(prepared, index)
    model = load(workspace.store, prepared.parent, device=str(prepared.device))
    known = prepared.known
    transform = training_transform(known.preprocessing, known.backbone.plugin)
    batches = Batches(prepared.dataset, samples, transform, batch_size)
    loader = ImageLoader(batches, prepared.device, model=model)
    try:
        with prepared.progress(f"{prepared.base} as it is", len(samples)) as task:
            outputs, _ = predict(model, loader.whole(), loader.forward, advance=task.advance)
    except (ZooError, *REFUSALS):  # the rest of the advice stands without it
        return None
    if outputs.dim() != 2 or outputs.shape[1] != len(index):
        return None
    scores = goodness(outputs, targets_of(samples, prepared.task), prepared.task).tolist()
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    keys = (sample.key for sample in samples)
    return AsItIs(dict(zip(keys, scores, strict=True)), round(size / 1e6, 1))


def _classes_of(prepared: PreparedRun) -> list[int] | None:
    """Which output each class is, if the base has just these."""
    dataset, known = prepared.dataset, prepared.known
    if dataset.task != "classification" or len(known.classes) != len(dataset.classes):
        return None
    index = match(dataset.classes, known.classes)
    if len(index) != len(dataset.classes):
        return None
    return [index[name] for name in dataset.classes]


def _judges(prepared: PreparedRun, index: Sequence[int]) -> list[Sample]:
    """The images that choose, as many as probes are fitted on, with the outputs of the base."""
    dataset = prepared.dataset
    pool = [*dataset.train, *dataset.validation]
    targets = torch.tensor([index[int(str(sample.target))] for sample in pool])
    rows, _, _ = judging(targets, dataset.task, len(index), prepared.recipe.seed)
    return [Sample(pool[row].key, int(targets[row])) for row in rows.tolist()]
