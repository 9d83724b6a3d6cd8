"""What is done to training images, by level.

| level | crop, share of the area | aspect ratio | mirrored | colors | RandAugment | erased |
| --- | --- | --- | --- | --- | --- | --- |
| ``none`` | the inference transform | | | | | |
| ``light`` | 0.7 to 1 | 3/4 to 4/3 | half | | | |
| ``medium`` | 0.35 to 1 | 3/4 to 4/3 | half | ±40 % | | |
| ``heavy`` | 0.08 to 1 | 3/4 to 4/3 | half | | 2 of 15, magnitude 9 ± 0.5 | a quarter |

Colors: brightness, contrast and saturation. These are options of `timm.data.create_transform` (see
`LEVELS`); ``heavy`` is what timm's own recipes train with from scratch. Size, mean, standard
deviation and interpolation are the checkpoint's at every level. Every level above ``none`` mirrors:
it is not for images whose left and right mean something, such as writing.

All but cropping can be done on the device that trains (`zoo.finetune.dataset.on_device`), to whole
batches, with the same draws.

Mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019) go through timm, too. What is
drawn depends on what it decides alone, not on what was drawn before, or in which process.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import RandAugment
from timm.data.mixup import Mixup
from torch import Tensor
from torchvision.transforms import Compose

from zoo.backbones.preprocess import in_channels, inference_transform
from zoo.domain.manifest import Preprocessing
from zoo.domain.preprocessing import check_preprocessing
from zoo.domain.task import Task
from zoo.errors import InvalidOption
from zoo.finetune.dataset.on_device import Finish, split

__all__ = ["LEVELS", "Mix", "Transform", "seeded", "training_transform"]

LEVELS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "light": {"scale": (0.7, 1.0), "color_jitter": None},
    "medium": {"scale": (0.35, 1.0), "color_jitter": 0.4},
    "heavy": {
        "scale": (0.08, 1.0),
        "auto_augment": "rand-m9-mstd0.5-inc1",
        "re_prob": 0.25,
        "re_mode": "pixel",
    },
}
MIXING = 1
"""Keeps these draws apart from those of transforms, which have the same seed."""
POSTERIZE = "PosterizeIncreasing"
POSTERIZE_HIGHEST = 9
"""Keeps one bit of each color. At 10, timm keeps none, which Pillow refuses."""


@dataclass(frozen=True, slots=True)
class Transform:
    """From an RGB image to a float32 tensor."""

    apply: Callable[[Image.Image], Tensor]  # draws from the generators of `random`, numpy and torch
    size: tuple[int, int, int]  # channels, height and width of the tensor
    random: bool  # an image can come out differently each time
    finish: Finish | None = None  # from what ``apply`` gives then, of a batch, to such tensors


def training_transform(
    preprocessing: Preprocessing, plugin: str, level: str = "none", *, on: str = "host"
) -> Transform:
    """The transform of a level for a checkpoint of a backbone plugin; ``none`` is also that for
    evaluation. ``on`` the device: but for the crop of an image.

    Raises:
        InvalidOption, Unsupported: There is no such level, or a device cannot do it; the
            preprocessing is beyond the limits.
    """
    check_preprocessing(preprocessing)
    if level not in LEVELS:
        raise InvalidOption(f"no augmentation '{level}'; there are: {', '.join(LEVELS)}")
    size = preprocessing.input_size
    if not LEVELS[level]:
        return Transform(inference_transform(preprocessing, plugin), size, random=False)
    apply = create_transform(
        input_size=size,
        is_training=True,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
        **LEVELS[level],
    )
    for step in apply.transforms:
        for operation in step.ops if isinstance(step, RandAugment) else ():
            if operation.name == POSTERIZE:
                operation.magnitude_max = POSTERIZE_HIGHEST
    channels = partial(in_channels, channels=size[0])
    if on == "device":
        drawing, finish = split(apply.transforms, preprocessing, level)
        return Transform(Compose([channels, drawing]), size, random=True, finish=finish)
    return Transform(Compose([channels, apply]), size, random=True)


class Mix:
    """Mixes each image of a batch with its mirror image in the batch's order.

    Args:
        mixup: Alpha of mixup; 0: none. With both, each is used for half of the batches.
        cutmix: Alpha of CutMix; 0: none.
        task: What targets are.
        outputs: Number of classes, labels or columns.
        smoothing: Share of a class that is spread over all, or of a label towards one half.
        seed: The run's; draws depend on it, the epoch and the step alone.
    """

    def __init__(
        self, mixup: float, cutmix: float, *, task: Task, outputs: int, smoothing: float, seed: int
    ) -> None:
        self.seed = seed
        # Numbers mix as the shares of labels do.
        several = task != "classification"
        make = partial(Mixup, label_smoothing=smoothing, num_classes=outputs, multi_label=several)
        self._mix = make(mixup_alpha=mixup, cutmix_alpha=cutmix)
        self._unmixed = make(prob=0.0)

    def __call__(
        self, images: Tensor, targets: Tensor, *, epoch: int, step: int
    ) -> tuple[Tensor, Tensor]:
        """Mixed images, in the memory of ``images``, and targets (N, K) float32.

        ``step`` counts batches within the epoch. Of an odd batch, the image in the middle is its
        own mirror image and stays as it is. The shares that `Batches.epoch` gives to several
        processes are mixed as the whole batch would be.
        """
        with seeded(self.seed, MIXING, epoch, step):
            half, odd = divmod(len(images), 2)
            if not odd:
                images, targets = self._mix(images, targets)
                return images, targets
            if half:
                pairs = torch.tensor([i for i in range(len(images)) if i != half])
                images[pairs], mixed = self._mix(images[pairs], targets[pairs])
            # Last: it draws, too, and a share of the batch without its middle image does not.
            twice = targets[half : half + 1].repeat_interleave(2, dim=0)
            middle = self._unmixed(torch.zeros(2, 1, 1, 1), twice)[1][:1]
            return images, torch.cat([mixed[:half], middle, mixed[half:]]) if half else middle


@contextmanager
def seeded(*what: int) -> Iterator[None]:
    """Within the body, all generators that transforms draw from are seeded by these numbers."""
    seed = int.from_bytes(blake3(" ".join(map(str, what)).encode()).digest()[:8])
    # The default generator by itself: torch.manual_seed would reseed accelerators as well.
    generator = torch.default_generator
    before = random.getstate(), np.random.get_state(), generator.get_state()
    random.seed(seed)
    np.random.seed(seed % (1 << 32))  # NumPy takes 32 bits, torch 63
    generator.manual_seed(seed % (1 << 63))
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        generator.set_state(before[2])
