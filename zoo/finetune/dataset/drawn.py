"""Drawn: what is random in a training transform, drawn on the host for a device that does it.

The host decodes an image, crops and resizes it (images of one size are a batch), and lets timm's
own transforms draw the rest without doing it. So an image is drawn alike wherever it is augmented,
and whatever batch, process or worker it is in.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from PIL import Image
from timm.data.auto_augment import RandAugment
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torchvision.transforms import ColorJitter, RandomHorizontalFlip
from torchvision.transforms.v2.functional import pil_to_tensor

__all__ = ["Drawing", "Rows", "noting", "unpacked"]

PLACES = 4
"""Steps of an image at most, beside erasing: a mirror image, and three colors or two others."""
BOX = 5
"""Numbers of what is erased: top, left, bottom, right, and the seed of its noise."""
JITTER = ("brightness", "contrast", "color")
NOTHING = 0

Step = tuple[str, float]
"""What is done to an image, by the name of timm's function, and how much."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """The host's part of a training transform; ``names`` has all steps that a device can do."""

    crop: Callable[[Image.Image], Image.Image]
    steps: Sequence[Any]
    names: Sequence[str]

    def __call__(self, image: Image.Image) -> Tensor:
        """The image in bytes, uint8 (B,), as `unpacked` takes it; draws as the transforms do."""
        pixels: Tensor = pil_to_tensor(self.crop(image))
        done, box = list[Step](), [0] * BOX
        for step in self.steps:
            if isinstance(step, RandomErasing):
                box = _erased(step, pixels.shape)
            else:
                done += _drawn(step)
        numbers = [number for name, much in done for number in (self.names.index(name), much)]
        numbers += [NOTHING] * (2 * PLACES - len(numbers))
        row = torch.tensor([*numbers, *box], dtype=torch.float64)
        return torch.cat([pixels.flatten(), row.view(torch.uint8)])


@dataclass(frozen=True, slots=True)
class Rows:
    """What is drawn for the images of a batch, on the host.

    Attributes:
        kinds: int64 (N, `PLACES`), each an index of ``names``, or `NOTHING`.
        much: How much of it, float32 (N, `PLACES`).
        boxes: What is erased of each: top, left, bottom, right, and a seed; bottom 0: nothing.
    """

    kinds: Tensor
    much: Tensor
    boxes: list[list[int]]


def unpacked(packed: Tensor, pixels: int) -> Rows:
    """What stands behind so many bytes of pixels in each row of ``packed`` (N, B)."""
    rows = packed[:, pixels:].clone().view(torch.float64)
    steps = rows[:, : 2 * PLACES].reshape(-1, PLACES, 2)
    return Rows(steps[..., 0].long(), steps[..., 1].float(), rows[:, 2 * PLACES :].long().tolist())


def noting(step: RandAugment) -> None:
    """Let its operations note what they would do, on a list instead of an image."""
    for operation in step.ops:
        operation.aug_fn = partial(_note, operation.aug_fn.__name__)


def _note(name: str, noted: list[Step], much: float = 0.0, **_: object) -> list[Step]:
    return [*noted, (name, float(much))]


def _drawn(step: Any) -> list[Step]:
    if isinstance(step, RandomHorizontalFlip):
        return [("mirror", 0.0)] if torch.rand(1) < step.p else []
    if isinstance(step, ColorJitter):
        ranges = (step.brightness, step.contrast, step.saturation, step.hue)
        order, *factors = ColorJitter.get_params(*ranges)
        return [(JITTER[at], factors[at]) for at in order.tolist() if at < len(JITTER)]
    noted: list[Step] = step([])
    return noted


class _Canvas:
    """Instead of an image: notes which box of it is erased."""

    dtype = torch.float32

    def __init__(self, shape: torch.Size) -> None:
        self.shape, self.box = shape, [0] * (BOX - 1)

    def size(self) -> torch.Size:
        return self.shape

    def __setitem__(self, where: tuple[slice, slice, slice], _: object) -> None:
        _, rows, columns = where
        self.box = [rows.start, columns.start, rows.stop, columns.stop]


def _erased(step: RandomErasing, shape: torch.Size) -> list[int]:
    canvas = _Canvas(shape)
    step(canvas)
    return [*canvas.box, random.getrandbits(53)]  # as many as a float64 holds
