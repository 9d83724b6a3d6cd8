"""Loaders: where batches come from, and how the network takes them: as images, or at a cut, from a
cache.

Both give the same images in the same order, so that one can stand in for the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from zoo.backbones.from_cut import CutInputs, FromCut
from zoo.finetune.dataset.augment import Mix
from zoo.finetune.dataset.batches import Batches
from zoo.finetune.features.cache import Activations, Below
from zoo.finetune.ranks.ranks import ALONE, Ranks

__all__ = ["Batch", "CachedLoader", "Forward", "ImageLoader", "Loader"]

Inputs = Any
"""Images (N, C, H, W), or what enters at a cut."""
Forward = Callable[[Inputs], Tensor]
"""From what a batch holds to outputs (N, K): the whole network, or its part above a cut."""

STAND_IN = 2
"""Images that a rank without any of a batch runs where all share the weights, of which each is
asked in every step; batch norm takes no fewer."""


class Batch(NamedTuple):
    """What the network is given, and what it should say: see `zoo.contracts.Head.loss`."""

    inputs: Inputs
    targets: Tensor
    images: int


@dataclass(frozen=True)
class Loader(ABC):
    """Batches of one part of a dataset, for one network."""

    batches: Batches
    device: torch.device
    ranks: Ranks = ALONE

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.batches)

    @abstractmethod
    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch of training, without the first ``skip``."""

    @abstractmethod
    def whole(self) -> Iterator[Batch]:
        """All images once, in file order."""

    @abstractmethod
    def forward(self, inputs: Inputs) -> Tensor:
        """The network's outputs (N, K) for the inputs of a batch."""

    @abstractmethod
    def into(self, copy: nn.Module) -> Self:
        """The same for a copy of the network."""

    def fits(self) -> bool:
        """Whether the batches are still what the network would be given: images always are."""
        return True


@dataclass(frozen=True, kw_only=True)
class ImageLoader(Loader):
    """Images through the whole network."""

    model: nn.Module
    layout: torch.memory_format = torch.contiguous_format  # how images lie in memory
    mix: Mix | None = None  # of training images, if they are mixed

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """See `Loader.epoch`."""
        rank, size = self.ranks.rank, self.ranks.world_size
        batches = self.batches.epoch(number, skip=skip, rank=rank, world=size)
        for step, (images, targets, _) in enumerate(batches, skip):
            if self.mix and len(images):
                images, targets = self.mix(images, targets, epoch=number, step=step)
            yield self._batch(images, targets)

    def whole(self) -> Iterator[Batch]:
        """See `Loader.whole`."""
        return (self._batch(images, targets) for images, targets, _ in self.batches.view(0))

    def forward(self, inputs: Inputs) -> Tensor:
        """See `Loader.forward`."""
        outputs: Tensor = self.model(inputs)
        return outputs

    def into(self, copy: nn.Module) -> Self:
        """See `Loader.into`."""
        return replace(self, model=copy)

    def _batch(self, images: Tensor, targets: Tensor) -> Batch:
        if self.ranks.sharded and not len(images):
            images = torch.stack([self.batches.image(0, 0)] * STAND_IN)
        # From memory that is not pinned, a copy that is not waited for may come too late: what it
        # reads may be freed and written to before (pytorch/pytorch#139550, for MPS).
        ahead = self.device.type == "cuda" and images.is_pinned()
        moved = images.to(self.device, memory_format=self.layout, non_blocking=ahead)
        return Batch(moved, targets, len(targets))


class _AtCut(NamedTuple):
    at_cut: CutInputs
    images: int


@dataclass(frozen=True, kw_only=True)
class CachedLoader(Loader):
    """Cached inputs at a cut, through the part of the network above it; reads no images."""

    entry: FromCut  # the network, forward from the cut
    views: Sequence[Activations]  # epochs take turns with them
    rows: Sequence[int]  # of each image of this part, in the cache
    below: Below  # the weights that the cache was computed with

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """See `Loader.epoch`."""
        self._check()
        view = self.views[number % len(self.views)]
        rank, size = self.ranks.rank, self.ranks.world_size
        for indices in self.batches.plan(number, rank=rank, world=size)[skip:]:
            yield self._batch(view, indices)

    def whole(self) -> Iterator[Batch]:
        """See `Loader.whole`."""
        self._check()
        size = self.batches.size
        for at in range(0, len(self.rows), size):
            yield self._batch(self.views[0], range(at, min(at + size, len(self.rows))))

    def forward(self, inputs: Inputs) -> Tensor:
        """See `Loader.forward`."""
        # Of the images only shape, dtype and device are asked for: they have no memory.
        shape = (inputs.images, *self.batches.transform.size)
        images = torch.zeros((), device=self.device).expand(shape)
        outputs: Tensor = self.entry.forward(inputs.at_cut, images)
        return outputs

    def into(self, copy: nn.Module) -> Self:
        """See `Loader.into`."""
        return replace(self, entry=self.entry.into(copy))

    def fits(self) -> bool:
        """See `Loader.fits`."""
        return self.below.unchanged()

    def _check(self) -> None:
        # Training goes on silently on activations of other weights: nothing else would tell.
        if not self.fits():
            raise RuntimeError(
                f"the cached activations are those of other weights ({self.below.digest}) than "
                "the network now has below its cut"
            )

    def _batch(self, view: Activations, indices: Sequence[int]) -> Batch:
        chosen = indices or [0] * (STAND_IN if self.ranks.sharded else 0)
        inputs = view.batch([self.rows[index] for index in chosen], self.device)
        return Batch(_AtCut(inputs, len(chosen)), self.batches.targets[indices], len(indices))
