"""The loss of a recipe: the head's own, with the options that apply to classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.contracts import Head
from zoo.domain.recipe import Recipe
from zoo.domain.task import Task
from zoo.errors import InvalidOption
from zoo.finetune.dataset.dataset import Dataset, Sample

__all__ = ["balanced_weights", "make_loss"]


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


def balanced_weights(samples: Sequence[Sample], task: Task, outputs: int) -> Tensor:
    """Weights (K,) float32 for the loss that let rare classes count as much as common ones.

    Of classes ``N / (K * n_c)``, so that the average weight of an image is 1 (``weight`` of cross
    entropy); of labels ``(N - n_k) / n_k``, so that the two sides of each weigh the same
    (``pos_weight`` of binary cross entropy).

    Raises:
        InvalidOption: Numbers have no classes.
    """
    if task == "regression":
        raise InvalidOption("class weights are for classes and labels, not for regression")
    if task == "classification":
        targets = torch.tensor([sample.target for sample in samples])
        counts = torch.bincount(targets, minlength=outputs).double()
        return (len(samples) / (outputs * counts)).float()
    counts = torch.tensor([sample.target for sample in samples], dtype=torch.float64).sum(dim=0)
    return ((len(samples) - counts) / counts).float()
