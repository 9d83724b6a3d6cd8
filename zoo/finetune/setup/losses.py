"""The loss of a recipe: the head's own, with the options that apply to classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.loss import AsymmetricLossMultiLabel, AsymmetricLossSingleLabel
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from zoo.contracts import Head
from zoo.domain.recipe import Recipe
from zoo.domain.task import Task
from zoo.errors import InvalidOption
from zoo.finetune.dataset.dataset import Dataset, Sample

__all__ = ["balanced_weights", "make_loss"]


def make_loss(recipe: Recipe, head: Head, dataset: Dataset, device: torch.device) -> nn.Module:
    """From outputs (N, K) and targets to a scalar.

    Raises:
        InvalidOption: Smoothing or class weights where the loss has no place for them; or another
            loss than the head's where its outputs are none for it.
    """
    task = dataset.task
    loss = head.loss(task)
    if recipe.loss != "auto":
        loss = _special(recipe, loss, task)
    unfit = f"not for {task} with the head {recipe.head}"
    unfit += f" and the loss {recipe.loss}" if recipe.loss != "auto" else ""
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


class Focal(nn.Module):
    """Focal loss (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017) of outputs
    (N, K): the mean of cross entropies, each times the square of what its probability lacks to 1.
    """

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """``targets`` are indices (N,), or shares (N, K) of classes that are mixed."""
        logs = outputs.log_softmax(dim=1)
        if targets.dim() == 1:
            targets = functional.one_hot(targets, outputs.shape[1]).to(outputs.dtype)
        return -(targets * (1 - logs.exp()).square() * logs).sum(dim=1).mean()


class FocalOfLabels(nn.Module):
    """The same of labels, each by itself; the mean over all of them."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Outputs and targets (N, K)."""
        loss: Tensor = sigmoid_focal_loss(outputs, targets, alpha=-1, gamma=2, reduction="mean")
        return loss


def _special(recipe: Recipe, own: nn.Module, task: Task) -> nn.Module:
    """The loss that a recipe names; raises `InvalidOption` where it cannot be."""
    usual = {"classification": nn.CrossEntropyLoss, "multi-label": nn.BCEWithLogitsLoss}
    if task not in usual or not isinstance(own, usual[task]):
        raise InvalidOption(
            f"the loss {recipe.loss} is for classes and labels that are learned by cross entropy, "
            f"not for {task} with the head {recipe.head}"
        )
    classes = task == "classification"
    if recipe.loss == "focal":
        return Focal() if classes else FocalOfLabels()
    if classes and (recipe.mixup or recipe.cutmix):
        raise InvalidOption("the asymmetric loss of classes takes no mixed images")
    if classes:
        return AsymmetricLossSingleLabel(eps=0.0)
    return AsymmetricLossMultiLabel(reduction="mean")


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
