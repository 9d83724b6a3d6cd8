"""Taught: batches with what a teacher says of their images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from zoo.finetune.features.loaders import Batch, Inputs, Loader
from zoo.finetune.setup.teacher import Teacher

__all__ = ["TaughtLoader"]


@dataclass(frozen=True, kw_only=True)
class TaughtLoader(Loader):
    """The batches of another loader, those of epochs with a teacher's outputs: asked once where
    images stay as they are, or are kept, else in each step.
    """

    inner: Loader
    teacher: Teacher

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """See `Loader.epoch`."""
        plan = self.batches.plan(number, rank=self.ranks.rank, world=self.ranks.world_size)[skip:]
        view = self.inner.view_of(number)
        for indices, batch in zip(plan, self.inner.epoch(number, skip=skip), strict=True):
            yield batch._replace(taught=self._taught(batch, indices, view))

    def _taught(self, batch: Batch, indices: list[int], view: int | None) -> Tensor:
        if not indices:  # of a small last batch, of which other ranks have all
            return torch.zeros(0, len(self.teacher.columns))
        if view is None:
            return self.teacher.of_images(batch.inputs[: len(indices)])
        return self.teacher.of_all(self.batches, view)[indices]

    def whole(self) -> Iterator[Batch]:
        """See `Loader.whole`."""
        return self.inner.whole()

    def forward(self, inputs: Inputs) -> Tensor:
        """See `Loader.forward`."""
        return self.inner.forward(inputs)

    def into(self, copy: nn.Module) -> Self:
        """See `Loader.into`."""
        return replace(self, inner=self.inner.into(copy))

    def view_of(self, number: int) -> int | None:
        """See `Loader.view_of`."""
        return self.inner.view_of(number)

    def fits(self) -> bool:
        """See `Loader.fits`."""
        return self.inner.fits()
