"""Passes without gradients: evaluate the network, and recalibrate its batch norms.

A probe is fitted to what the network gives in eval mode; live batch norms run on statistics of the
batch in training. While eval mode has those of the images of pretraining, the two differ so much
that the first epochs undo the probe: of ImageNet weights on digits an accuracy of 0.96 fell to
0.58. With statistics of the training images (Li et al., "Revisiting Batch Normalization For
Practical Domain Adaptation", 2016) both see the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.finetune.features.loaders import Batch, Forward, Inputs, Loader, Loaders
from zoo.finetune.setup.network import autocast
from zoo.finetune.setup.prepare import PreparedRun

__all__ = [
    "Told",
    "evaluate",
    "live_norms",
    "not_synced",
    "predict",
    "recalibrate",
    "take_statistics",
    "validate",
]

Told = Callable[[Tensor, Tensor], None]
"""Gets logits (N, K) and targets of all images."""


@torch.no_grad()
def predict(
    model: nn.Module,
    batches: Iterable[Batch],
    forward: Forward,
    precision: str = "fp32",
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Tensor, Tensor]:
    """Logits (N, K) float32 of all batches, and their targets, on the CPU; in eval mode.

    ``forward`` takes the inputs of a batch; ``advance`` is called with the images of each.
    """
    model.eval()
    logits, targets = [], []
    for batch in batches:
        with autocast(model, precision):
            output = forward(batch.inputs)
        logits.append(output.float().cpu())
        targets.append(batch.targets.cpu())
        advance(batch.images)
    return torch.cat(logits), torch.cat(targets)


def evaluate(
    prepared: PreparedRun, loader: Loader, observe: Told = lambda *_: None
) -> dict[str, float]:
    """The head's metrics of the network as it is, over all images of ``loader``; ``observe`` gets
    what it said of each, and the targets.
    """
    precision = prepared.recipe.precision
    logits, targets = predict(prepared.model, loader.whole(), loader.forward, precision)
    observe(logits, targets)
    return prepared.head.metrics(logits, targets, prepared.task)


def validate(
    prepared: PreparedRun, loaders: Loaders, observe: Told = lambda *_: None
) -> dict[str, float]:
    """`evaluate` on the validation split; nothing where there is none."""
    return evaluate(prepared, loaders.validation, observe) if loaders.validation else {}


def not_synced(prepared: PreparedRun) -> str:
    """What to know where several ranks train batch norms, as the network is frozen; else empty.

    None of them sees the whole batch, and the main rank's running statistics are kept.
    """
    count = prepared.ranks.world_size
    if count == 1 or prepared.recipe.batch_norm == "synced" or not live_norms(prepared.model):
        return ""
    share = prepared.recipe.images_per_batch // count
    return (
        f"batch norm is trained: each of {count} processes takes its statistics from its own "
        f"{share} images of a batch, so that the result is not that of one process; a larger "
        "--batch-size makes that matter less, and --batch-norm synced or frozen avoids it"
    )


def live_norms(model: nn.Module) -> list[_BatchNorm]:
    """The batch norms whose statistics follow the batches; leaves ``model`` in training."""
    return [
        child
        for child in model.train().modules()
        if isinstance(child, _BatchNorm) and child.training and child.track_running_stats
    ]


@torch.no_grad()
def recalibrate(prepared: PreparedRun, loader: Loader, trained: Sequence[_BatchNorm]) -> None:
    """Give these batch norms of the network the mean statistics of all batches of ``loader``, each
    counted by its images.
    """
    model = prepared.model
    if not trained:
        return
    with prepared.progress("statistics of batch norm", len(prepared.dataset.train)) as task:

        def forward(inputs: Inputs) -> None:
            with autocast(model, prepared.recipe.precision):
                loader.forward(inputs)

        def runs() -> Iterator[tuple[int, Callable[[], object]]]:
            for batch in loader.whole():
                yield batch.images, partial(forward, batch.inputs)
                task.advance(batch.images)

        take_statistics(model, trained, runs())


@torch.no_grad()
def take_statistics(
    model: nn.Module,
    norms: Sequence[_BatchNorm],
    runs: Iterable[tuple[int, Callable[[], object]]],
) -> None:
    """Give batch norms of a model the mean statistics of all batches: of how many images each is,
    and what runs the model on it. The model is in eval mode then.
    """
    momenta = [child.momentum for child in norms]
    model.eval()  # dropout would be noise
    for child in norms:
        child.training = True  # not `train`, which does nothing where statistics are kept
        child.reset_running_stats()
    seen = 0
    for images, run in runs:
        if images > 1:  # one alone has no variance
            seen += images
            for child in norms:
                child.momentum = images / seen  # the mean over all that were seen
            run()
    for child, momentum in zip(norms, momenta, strict=True):
        child.momentum = momentum
        child.training = False
