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
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import RandAugment
from torch import Tensor
from torchvision.transforms import Compose

from zoo.backbones.preprocess import in_channels, inference_transform
from zoo.domain.manifest import Preprocessing
from zoo.domain.preprocessing import check_preprocessing
from zoo.errors import InvalidOption

__all__ = ["LEVELS", "Transform", "training_transform"]

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
POSTERIZE = "PosterizeIncreasing"
POSTERIZE_HIGHEST = 9
"""Keeps one bit of each color. At 10, timm keeps none, which Pillow refuses."""


@dataclass(frozen=True, slots=True)
class Transform:
    """From an RGB image to a float32 tensor.

    Attributes:
        apply: Does it; draws from the generators of `random`, numpy and torch.
        size: Channels, height and width of the tensor.
        random: Whether an image can come out differently each time.
    """

    apply: Callable[[Image.Image], Tensor]
    size: tuple[int, int, int]
    random: bool


def training_transform(preprocessing: Preprocessing, level: str = "none") -> Transform:
    """The transform of a level for a checkpoint; ``none`` is also that for evaluation.

    Raises:
        InvalidOption: There is no such level.
        Unsupported: The preprocessing is beyond the limits.
    """
    check_preprocessing(preprocessing)
    if level not in LEVELS:
        raise InvalidOption(f"no augmentation '{level}'; there are: {', '.join(LEVELS)}")
    size = preprocessing.input_size
    if not LEVELS[level]:
        return Transform(inference_transform(preprocessing), size, random=False)
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
    return Transform(Compose([channels, apply]), size, random=True)
