"""Weights that let rare classes count as much as common ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.domain.task import Task
from zoo.errors import InvalidOption
from zoo.finetune.dataset.dataset import Sample

__all__ = ["balanced_weights"]


def balanced_weights(samples: Sequence[Sample], task: Task, outputs: int) -> Tensor:
    """Weights (K,) float32 for the loss, from the counts of training targets.

    - classification: ``N / (K * n_c)`` for a class with ``n_c`` of ``N`` images, so that the
      average weight of an image is 1 (the ``weight`` of cross entropy);
    - multi-label: ``(N - n_k) / n_k`` for a label that ``n_k`` images have, so that its two sides
      weigh the same (the ``pos_weight`` of binary cross entropy).

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
