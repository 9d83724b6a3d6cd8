"""Worker processes that read and transform images."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from zoo.backbones.opening import any_crop
from zoo.backbones.reading_processes import context_for, without_script
from zoo.errors import InvalidImage
from zoo.finetune.dataset.augment import Transform, seeded
from zoo.finetune.dataset.images import Images

__all__ = ["PREFETCHED", "Reader", "Workers"]

PREFETCHED = 2
"""Batches that each worker has ready, at most."""
STREAM = 0
"""Keeps draws of transforms apart from those of `zoo.finetune.dataset.augment`."""


class Unreadable(NamedTuple):
    """Instead of an image: the arguments of `InvalidImage`."""

    path: str
    reason: str


@dataclass(frozen=True)
class Reader(torch.utils.data.Dataset[Tensor | Unreadable]):
    """Transformed images by their keys; what is random hangs on seed, epoch and place alone."""

    images: Images
    keys: Sequence[str]
    transform: Transform
    seed: int

    def image(self, index: int, epoch: int) -> Tensor:
        """One of them (C, H, W), by its place among the ``keys``.

        Raises:
            InvalidImage: It became unreadable since it was checked, or cannot be transformed.
        """
        key = self.keys[index]
        image = self.images.read(key)
        chance = seeded(self.seed, STREAM, epoch, index) if self.transform.random else nullcontext()
        try:
            with chance, any_crop(image):
                return self.transform.apply(image)
        except InvalidImage as error:
            raise InvalidImage(key, error.reason) from error
        except Exception as error:  # transforms are others' code, and raise whatever they like
            reason = f"cannot be transformed: {error} ({type(error).__name__})"
            raise InvalidImage(key, reason) from error

    def __getitem__(self, at: tuple[int, int]) -> Tensor | Unreadable:
        try:
            return self.image(*at)
        except InvalidImage as error:
            # A worker's error would come out as another, with the trace as its text.
            return Unreadable(error.path, error.reason)


class Workers:
    """Processes that read pass after pass, and end with the last reference to this, or with whoever
    started them. Batches are pinned for a CUDA ``device``.
    """

    def __init__(self, reader: Reader, count: int, device: torch.device) -> None:
        self._plan: list[list[tuple[int, int]]] = []
        self._loader: DataLoader[Tensor | Unreadable] = DataLoader(
            reader,
            batch_sampler=self._plan,  # each pass goes through what it has then
            num_workers=count,
            prefetch_factor=PREFETCHED,
            persistent_workers=True,
            pin_memory=device.type == "cuda",
            multiprocessing_context=context_for(device.type, __name__),
            collate_fn=_stacked,
            worker_init_fn=_begin,
            # Not the default one: reading must not move what dropout draws.
            generator=torch.Generator(),
        )

    def read(self, plan: Sequence[Sequence[int]], epoch: int) -> Iterator[Tensor]:
        """Batches (N, C, H, W) of images by their positions; raises as `Reader.image`. It is to be
        read to its end before another one begins.
        """
        self._plan[:] = [[(index, epoch) for index in batch] for batch in plan]
        with without_script():
            batches = iter(self._loader)
        for images in batches:
            if isinstance(images, Unreadable):
                raise InvalidImage(*images)
            yield images


def _begin(_: int) -> None:
    """Let the process that reads images end with whoever started it, which an interrupt is for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _stacked(images: Sequence[Tensor | Unreadable]) -> Tensor | Unreadable:
    """A batch of images; or the first that is none."""
    for image in images:
        if isinstance(image, Unreadable):
            return image
    tensors = [image for image in images if isinstance(image, Tensor)]
    return torch.stack(tensors) if tensors else torch.empty(0)
