"""The loss of a recipe: the head's own, with the options that apply to classes."""

from __future__ import annotations

from torch import nn

from zoo.errors import InvalidOption
from zoo.finetune.dataset.weights import balanced_weights
from zoo.finetune.prepare import Prepared

__all__ = ["make_loss"]


def make_loss(prepared: Prepared) -> nn.Module:
    """From outputs (N, K) and targets to a scalar.

    Raises:
        InvalidOption: Smoothing or class weights where the head's loss has no place for them.
    """
    recipe, loss = prepared.recipe, prepared.head.loss(prepared.task)
    # Where images are mixed, the smoothing is in their targets.
    if recipe.label_smoothing and not (recipe.mixup or recipe.cutmix):
        if not isinstance(loss, nn.CrossEntropyLoss):
            raise _unfit("label smoothing", prepared)
        loss.label_smoothing = recipe.label_smoothing
    if recipe.class_weights == "balanced":
        outputs = len(prepared.dataset.classes)
        weights = balanced_weights(prepared.dataset.train, prepared.task, outputs)
        if isinstance(loss, nn.CrossEntropyLoss):
            loss.weight = weights.to(prepared.device)
        elif isinstance(loss, nn.BCEWithLogitsLoss):
            loss.pos_weight = weights.to(prepared.device)
        else:
            raise _unfit("class weights", prepared)
    return loss


def _unfit(what: str, prepared: Prepared) -> InvalidOption:
    return InvalidOption(f"{what}: not for {prepared.task} with the head {prepared.recipe.head}")
