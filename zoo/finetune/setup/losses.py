"""The loss of a recipe: the head's own, with the options that apply to classes."""

from __future__ import annotations

import torch
from torch import nn

from zoo.contracts import Head
from zoo.domain.recipe import Recipe
from zoo.errors import InvalidOption
from zoo.finetune.dataset.dataset import Dataset
from zoo.finetune.dataset.weights import balanced_weights

__all__ = ["make_loss"]


def make_loss(recipe: Recipe, head: Head, dataset: Dataset, device: torch.device) -> nn.Module:
    """From outputs (N, K) and targets to a scalar.

    Raises:
        InvalidOption: Smoothing or class weights where the head's loss has no place for them.
    """
    task = dataset.task
    loss = head.loss(task)
    unfit = f"not for {task} with the head {recipe.head}"
    if recipe.label_smoothing:
        # Where images are mixed, the smoothing is in their targets: of labels, too.
        mixed = bool(recipe.mixup or recipe.cutmix)
        if isinstance(loss, nn.CrossEntropyLoss):
            loss.label_smoothing = 0.0 if mixed else recipe.label_smoothing
        elif not mixed or task == "regression":
            raise InvalidOption(f"label smoothing: {unfit}")
    if recipe.class_weights == "balanced":
        weights = balanced_weights(dataset.train, task, len(dataset.classes)).to(device)
        if isinstance(loss, nn.CrossEntropyLoss):
            loss.weight = weights
        elif isinstance(loss, nn.BCEWithLogitsLoss):
            loss.pos_weight = weights
        else:
            raise InvalidOption(f"class weights: {unfit}")
    return loss
