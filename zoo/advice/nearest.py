"""Nearest neighbors among all images, and the components that they are looked for in.

Everything here takes memory that grows with the number of images, never with its square: similarity
is computed for some images with all others at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.domain.progress import Task

__all__ = ["COMPONENTS", "Near", "components", "nearest"]

COMPONENTS = 512
"""Most principal components that are kept of the features of all depths."""
BLOCK = 64 << 20
"""Bytes of similarities that are in memory at once."""
STILL = 1e-4
"""Least deviation of a feature, as a share of the median one."""
FARTHEST = 3.0
"""Standard deviations from the mean beyond which a feature says no more."""
ROUNDS = 2
"""Power iterations of the decomposition: with two, the first hundreds of components are exact
enough (torch's advice for `svd_lowrank`)."""


class Near(NamedTuple):
    """The nearest other images of each image (N, k), the most similar first."""

    similarity: Tensor
    others: Tensor  # their indices


def components(features: Sequence[Tensor], seed: int) -> Tensor:
    """The first principal components (N, C) of features (N, F) of all depths together.

    Each feature is standardized, so that those of all depths count alike, and what lies far out is
    drawn in: else a few odd images would decide what the components are.
    """
    values = torch.cat(list(features), dim=1)
    values -= values.mean(dim=0)
    deviation = values.std(dim=0)
    values /= deviation.clamp(min=max(STILL * deviation.median().item(), 1e-12))
    values.clamp_(-FARTHEST, FARTHEST)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        rank = min(COMPONENTS, *values.shape)
        left, strength, _ = torch.svd_lowrank(values, q=rank, niter=ROUNDS)
    return left * strength


def nearest(vectors: Tensor, count: int, task: Task) -> Near:
    """The ``count`` other images whose vectors (N, F) point the most alike; fewer, if fewer are
    there. ``task`` is advanced by every image.
    """
    unit, number = nn.functional.normalize(vectors), len(vectors)
    rows, count = max(BLOCK // (4 * number), 1), min(count, number - 1)
    similar, indices = [], []
    for at in range(0, number, rows):
        block = unit[at : at + rows] @ unit.T
        own = torch.arange(len(block))
        block[own, own + at] = -torch.inf
        values, index = block.topk(count, dim=1)
        similar.append(values)
        indices.append(index)
        task.advance(len(block))
    return Near(torch.cat(similar), torch.cat(indices))
