"""Pace: how fast a training goes, and the line that says so after each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from time import monotonic

import psutil
import torch

from zoo.finetune.loop.learner import Step

__all__ = ["Pace", "memory"]


class Pace:
    """Counts the images of a training of so many ``epochs``, each of as many ``images``.

    Attributes:
        lr: The head's rate in its last step.
        speed: Images per second in it, without validation.
    """

    def __init__(self, epochs: int, images: int) -> None:
        self.epochs, self.images = epochs, images
        self._began, self._done = monotonic(), 0
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Begin to count another one."""
        self.lr = self.speed = 0.0
        self._epoch_began, self._epoch_done = monotonic(), 0

    def count(self, steps: Sequence[Step]) -> None:
        """Take in steps that were waited for."""
        for step in steps:
            self.lr = step.lr
            self._done += step.images
            self._epoch_done += step.images
        self.speed = self._epoch_done / max(monotonic() - self._epoch_began, 1e-9)

    def line(
        self,
        number: int,
        loss: float | None,
        scores: Mapping[str, float | None],
        device: torch.device,
    ) -> str:
        """What to say after that epoch, from 1, with the mean ``loss`` of its steps; ``scores`` are
        on the validation images.
        """
        parts = [f"epoch {number:>{len(str(self.epochs))}}/{self.epochs}"]
        parts += [f"loss {loss:#.4g}"] if loss is not None else []
        parts += [f"{name} {score:.4f}" for name, score in scores.items() if score is not None]
        return "  ".join([*parts, *self._effort(number), f"{memory(device) / 1e9:.1f} GB memory"])

    def _effort(self, number: int) -> Iterator[str]:
        if not self._epoch_done:  # resumed after the last step of the epoch
            return
        yield f"rate {self.lr:.1e}"
        yield f"{self.speed:,.0f} images/s"
        each = (monotonic() - self._began) / max(self._done, 1)  # validation included
        if number == self.epochs:
            return
        left = each * self.images * (self.epochs - number)
        yield f"{timedelta(seconds=round(left))} left"


def memory(device: torch.device) -> int:
    """Bytes: the most that an accelerator had in use, else what this process has now."""
    library = getattr(torch, device.type, None)
    if peak := getattr(library, "max_memory_allocated", None):
        return int(peak(device))
    return int(psutil.Process().memory_info().rss)
