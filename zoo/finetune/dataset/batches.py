"""Batches of a dataset, the same on every machine and however often training was interrupted.

The order of an epoch depends on the seed and the epoch alone, what is random in a transform on the
seed, the epoch and the sample. So neither the number of worker processes nor that of training
processes changes what the network sees, and an epoch can be entered anywhere.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from zoo import config
from zoo.config import cores, processes_here
from zoo.domain.task import Task
from zoo.finetune.dataset.augment import Transform
from zoo.finetune.dataset.dataset import Dataset, Sample
from zoo.finetune.dataset.workers import PREFETCHED, Reader, Workers

__all__ = ["Batches", "ImageBatch", "evenly", "most_workers", "targets_of"]

MEMORY = 1 << 30
"""Bytes of transformed images that are kept rather than made again each epoch."""
WORKERS = 4
"""Processes that read beside a CPU that computes, at most."""
AHEAD = 8 << 30
"""Bytes of batches that more of them than that may have ready; each has `PREFETCHED`."""
PAYS = 3.0
"""Seconds of reading and transforming from which starting worker processes pays."""
CPU = torch.device("cpu")


class ImageBatch(NamedTuple):
    """Images (N, C, H, W) float32, on the device if that augments them; their targets, on the host
    (see `targets_of`); and which samples they are.
    """

    images: Tensor
    targets: Tensor
    indices: list[int]


def targets_of(samples: Sequence[Sample], task: Task) -> Tensor:
    """Targets (N,) int64 of classes; else (N, K) float32."""
    dtype = torch.int64 if task == "classification" else torch.float32
    return torch.tensor([sample.target for sample in samples], dtype=dtype)


def most_workers(device: torch.device) -> int:
    """How many may read for each process that trains: what ``ZOO_WORKERS`` says, else four at most
    beside a CPU that computes; beside an accelerator, the cores of a machine have nothing else to
    do than to read for its processes.
    """
    usual = min(WORKERS, cores()) if device.type == "cpu" else max(cores() // processes_here(), 1)
    return config.most_workers(usual)


def evenly(number: int, count: int) -> list[int]:
    """So many of ``number`` places at most, evenly spaced."""
    return [at * number // min(count, number) for at in range(min(count, number))]


class Batches:
    """Batches of some of a dataset's samples; an index is a position in ``samples``.

    ``size`` is that of a batch of all processes together. Results of a transform that is not
    random are kept, as far as `MEMORY` goes, unless all samples are read ``once``. ``workers``
    processes read, or where that pays as many as suits the ``device`` that they read for
    (`most_workers`). Those of epochs go on from one to the next. In epochs of training that are
    ``balanced``, samples are drawn, those of each class as often as of another.
    """

    def __init__(
        self,
        dataset: Dataset,
        samples: Sequence[Sample],
        transform: Transform,
        size: int,
        *,
        seed: int = 0,
        workers: int | None = None,
        device: torch.device = CPU,
        once: bool = False,
        balanced: bool = False,
    ) -> None:
        self.dataset, self.samples, self.transform = dataset, samples, transform
        self.size, self.seed, self.workers, self.device = size, seed, workers, device
        self.targets = targets_of(samples, dataset.task)
        self.balanced = balanced
        self._reader = Reader(dataset.images, [each.key for each in samples], transform, seed)
        self._epochs: Workers | None = None
        self._cached: dict[int, Tensor] = {}
        self._room = 0 if once else MEMORY

    def __len__(self) -> int:
        """Batches of an epoch of training."""
        full, rest = divmod(len(self.samples), self.size)
        return full + (rest > 1)

    def some(self, count: int) -> Batches:
        """The same of so many of the samples at most, evenly spaced."""
        chosen = evenly(len(self.samples), count)
        samples = [self.samples[at] for at in chosen]
        few = Batches(
            self.dataset,
            samples,
            self.transform,
            self.size,
            seed=self.seed,
            workers=self.workers,
            device=self.device,
        )
        if not self.transform.random:
            known = ((new, old) for new, old in enumerate(chosen) if old in self._cached)
            few._cached = {new: self._cached[old] for new, old in known}
        return few

    def plan(self, epoch: int, *, rank: int = 0, world: int = 1) -> list[list[int]]:
        """Indices of the batches of an epoch of training, in a random order.

        A last batch of one image is left out, since batch norm cannot take its statistics; which
        image that is, the order decides anew in each epoch. Of every batch, a process has each
        ``world``-th pair of images that mirror one another in the batch's order, and its place in
        that order: so `zoo.finetune.dataset.augment.Mix` finds the same pairs in it. A process may
        have none of a small last batch.
        """
        order = list(range(len(self.samples)))
        # Text as a seed: hashed alike everywhere, and (1, 12) is not (11, 2).
        chance = random.Random(f"{self.seed} {epoch}")  # noqa: S311 - an order, no secret
        if self.balanced:
            counts = torch.bincount(self.targets)
            order = chance.choices(order, (1 / counts[self.targets]).tolist(), k=len(order))
        else:
            chance.shuffle(order)
        plan = [order[at : at + self.size] for at in range(0, len(order), self.size)]
        if len(order) % self.size == 1:
            plan.pop()
        return [_share(batch, rank, world) for batch in plan]

    def epoch(
        self, number: int, *, skip: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[ImageBatch]:
        """The batches of an epoch of training, but for the first ``skip``, which are not read.

        Raises:
            InvalidImage: An image became unreadable since it was checked, or cannot be transformed.
        """
        plan = self.plan(number, rank=rank, world=world)[skip:]
        return self._batches(plan, number, again=True)

    def view(self, number: int) -> Iterator[ImageBatch]:
        """All samples in order, each image as in the epoch of that number; raises as `epoch`."""
        count = len(self.samples)
        plan = [[*range(at, min(at + self.size, count))] for at in range(0, count, self.size)]
        return self._batches(plan, number)

    def image(self, index: int, epoch: int) -> Tensor:
        """One transformed image (C, H, W), on the host; raises as `epoch`."""
        image, finish = self._image(index, epoch), self.transform.finish
        return finish(image.unsqueeze(0), self.device)[0].cpu() if finish else image

    def _image(self, index: int, epoch: int) -> Tensor:
        """As a worker has it: what is left to a device is not done."""
        if index in self._cached:
            return self._cached[index]
        return self._reader.image(index, epoch)

    def _batches(
        self, plan: list[list[int]], epoch: int, *, again: bool = False
    ) -> Iterator[ImageBatch]:
        # Workers have not what was kept meanwhile, and are asked for the rest.
        asked = [[index for index in batch if index not in self._cached] for batch in plan]
        for indices, new, read in zip(plan, asked, self._read(asked, epoch, again), strict=True):
            images = read
            if len(new) < len(indices):
                fresh = dict(zip(new, read, strict=True))
                kept = [fresh[at] if at in fresh else self._cached[at] for at in indices]
                images = torch.stack(kept)
            if not indices:
                images = torch.empty(0, *self.transform.size)
            elif self.transform.finish:
                images = self.transform.finish(read, self.device)
            for index, image in zip(new, read, strict=True):
                if self.transform.random or index in self._cached or self._room < image.nbytes:
                    continue
                self._room -= image.nbytes
                self._cached[index] = image.clone()  # the batch is its receiver's to change
            yield ImageBatch(images, self.targets[indices], indices)

    def _read(self, plan: list[list[int]], epoch: int, again: bool) -> Iterator[Tensor]:
        """The images of each batch; by workers that are kept for another pass, if there is one."""
        before, self._epochs = self._epochs, None
        count = self._workers(plan, epoch)
        if not count:
            for batch in plan:
                images = [self._image(index, epoch) for index in batch]
                yield torch.stack(images) if images else torch.empty(0)
            return
        workers = before if again and before else Workers(self._reader, count, self.device)
        yield from workers.read(plan, epoch)
        if again:  # not where a pass was broken off: they end, and what they have read is lost
            self._epochs = workers

    def _workers(self, plan: list[list[int]], epoch: int) -> int:
        """The worker processes that were asked for, or that pay by the time one image takes."""
        if self.workers is not None:
            return self.workers
        uncached = [index for batch in plan for index in batch if index not in self._cached]
        if not uncached or cores() == 1:
            return 0
        began = time.perf_counter()
        self._image(uncached[0], epoch)
        seconds = (time.perf_counter() - began) * len(uncached)
        held = PREFETCHED * self.size * math.prod(self.transform.size) * torch.float32.itemsize
        most = min(most_workers(self.device), max(WORKERS, AHEAD // held))
        return min(most, len(plan)) if seconds > PAYS else 0


def _share(batch: list[int], rank: int, world: int) -> list[int]:
    # Whole pairs, so that mixing (`Mix`) finds in a share the partners that the whole batch has.
    half = len(batch) // 2
    first = list(range(rank, half, world))
    middle = [half] if len(batch) % 2 and half % world == rank else []
    return [batch[at] for at in (*first, *middle, *(len(batch) - 1 - at for at in reversed(first)))]
