"""kNN: how well the nearest other images predict each image, without anything that is fitted.

Features are compared by their cosine; a neighbor's vote counts the more the nearer it is (Wu et
al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, whose
temperature this is).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from zoo.domain.task import Task
from zoo.finetune.results.goodness import goodness

__all__ = ["NEIGHBORS", "neighbors_know"]

NEIGHBORS = 10
TEMPERATURE = 0.07


def neighbors_know(
    features: Tensor, targets: Tensor, task: Task, groups: Sequence[str] = ()
) -> float:
    """The mean `goodness` of what the ten nearest other images predict for each.

    Args:
        features: float32 (N, F).
        targets: Class indices (N,), labels in 0..1 (N, K), or numbers (N, K).
        task: What the targets are.
        groups: Of each image: those of its own group do not count. Empty: each is alone.
    """
    unit = normalize(features - features.mean(dim=0), dim=1)
    similarity = unit @ unit.T
    similarity.fill_diagonal_(-torch.inf)
    index = {name: at for at, name in enumerate(dict.fromkeys(groups)) if name}
    if index:
        own = torch.tensor([index.get(name, -1) for name in groups])
        similarity[(own[:, None] == own) & (own >= 0)[:, None]] = -torch.inf
    near, which = similarity.topk(min(NEIGHBORS, len(targets) - 1), dim=1)
    weights = (near / TEMPERATURE).softmax(dim=1).nan_to_num()  # all may be of its own group
    votes = one_hot(targets).float() if task == "classification" else targets.float()
    predicted = (weights[:, :, None] * votes[which]).sum(dim=1)
    if task == "multi-label":
        predicted -= 0.5  # `goodness` takes logits
    return goodness(predicted, targets, task).mean().item()
