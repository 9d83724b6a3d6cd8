"""Evaluate: what the network says of every image of a part, in eval mode, and how good that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from zoo.finetune.features.loader import Batch, Forward, Loader
from zoo.finetune.features.loaders import Loaders
from zoo.finetune.setup.network import autocast
from zoo.finetune.setup.prepare import Prepared

__all__ = ["evaluate", "predict", "validate"]


@torch.no_grad()
def predict(
    model: nn.Module,
    batches: Iterable[Batch],
    forward: Forward,
    precision: str = "fp32",
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Tensor, Tensor]:
    """Logits (N, K) float32 of all batches, and their targets, on the CPU; in eval mode.

    Args:
        model: The network.
        batches: What it is given.
        forward: How it takes the inputs of a batch.
        precision: Of the forward pass.
        advance: Progress callback, called with the images of each batch.
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


def evaluate(prepared: Prepared, loader: Loader) -> dict[str, float]:
    """The head's metrics of the network as it is, over all images of ``loader``."""
    precision = prepared.recipe.precision
    logits, targets = predict(prepared.model, loader.whole(), loader.forward, precision)
    return prepared.head.metrics(logits, targets, prepared.task)


def validate(prepared: Prepared, loaders: Loaders) -> dict[str, float]:
    """`evaluate` on the validation split; nothing where there is none."""
    return evaluate(prepared, loaders.validation) if loaders.validation else {}
