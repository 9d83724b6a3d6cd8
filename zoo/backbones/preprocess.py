"""Images into input: the transform that travels with the weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError
from timm.data import create_transform
from torchvision.transforms import CenterCrop, Compose

from zoo.backbones.opening import opened
from zoo.backbones.rgb import to_rgb
from zoo.domain.limits import RESIZED_PIXELS
from zoo.domain.manifest import Preprocessing
from zoo.domain.preprocessing import ROUNDING_DOWN, check_preprocessing
from zoo.errors import InvalidImage, NotAFile, ZooError
from zoo.store.regular import open_regular

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "EncodedImage",
    "Picture",
    "Preprocess",
    "decode_image",
    "in_channels",
    "inference_transform",
    "read_encoded",
    "read_image",
]

GRAY, COLORS = 1, 3

Pixels: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image as a file has it, in memory.

    Attributes:
        name: What it is called.
        data: JPEG, PNG, …; empty where there is none.
    """

    name: str
    data: bytes = field(repr=False)


Picture: TypeAlias = Path | str | Image.Image | Pixels | EncodedImage
"""An image: a file, or one in memory."""


def inference_transform(
    preprocessing: Preprocessing, plugin: str
) -> Callable[[Image.Image], Tensor]:
    """From an RGB image of any size to a float32 tensor (C, H, W), normalized, as the library of
    the backbone ``plugin`` crops it.

    For a network of one channel, the image is made gray. The transform raises `InvalidImage` where
    it cannot be run within the limits.

    Raises:
        Unsupported: The preprocessing is beyond the limits.
    """
    check_preprocessing(preprocessing)
    transform: Compose = create_transform(
        input_size=preprocessing.input_size,
        is_training=False,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
    )
    if plugin in ROUNDING_DOWN:
        steps = transform.transforms
        transform = Compose(
            [_RoundingDown(step.size) if isinstance(step, CenterCrop) else step for step in steps]
        )
    return _Bounded(transform, preprocessing)


@dataclass(frozen=True, slots=True)
class _RoundingDown:
    """The center crop of transformers' image processors; ``size`` is height and width."""

    size: tuple[int, int]

    def __call__(self, image: Image.Image) -> Image.Image:
        high, wide = self.size
        left, top = int((image.width - wide) / 2), int((image.height - high) / 2)
        # What lies outside the image is black, as theirs is.
        return image.crop((left, top, left + wide, top + high))


@dataclass(frozen=True, slots=True)
class _Bounded:
    """A transform that begins only what fits in memory."""

    transform: Callable[[Image.Image], Tensor]
    how: Preprocessing

    def __call__(self, image: Image.Image) -> Tensor:
        width, height = image.size
        pixels = resized_pixels(self.how, width, height)
        if pixels > RESIZED_PIXELS:
            raise InvalidImage(
                "the image",
                f"is {width} x {height} pixels: resized for the network it would have "
                f"{pixels:,}; the limit is {RESIZED_PIXELS:,}",
            )
        try:
            return self.transform(in_channels(image, self.how.input_size[0]))
        except (ValueError, RuntimeError, MemoryError) as error:  # a side of 0, a mean that is none
            reason = f"cannot be transformed: {str(error) or type(error).__name__}"
            raise InvalidImage("the image", reason) from error


def in_channels(image: Image.Image, channels: int) -> Image.Image:
    """An RGB image with as many channels as a network takes.

    Raises:
        InvalidImage: It takes neither one nor three.
    """
    if channels not in (GRAY, COLORS):
        raise InvalidImage(
            "the image", f"has {COLORS} colors, and the network takes {channels} channels"
        )
    return image.convert("L") if channels == GRAY else image


def resized_pixels(preprocessing: Preprocessing, width: int, height: int) -> int:
    """Pixels that an image takes while it is resized, first in width, then in height."""
    # As timm computes it: what is allowed here must be what it then does.
    wide, high = (
        math.floor(side / preprocessing.crop_pct) for side in preprocessing.input_size[:0:-1]
    )
    if preprocessing.crop_mode != "squash":
        # The shorter side decides, but of a bordered image the longer one: it is padded.
        ratio = (min if preprocessing.crop_mode == "border" else max)(wide / width, high / height)
        wide, high = round(width * ratio), round(height * ratio)
    return wide * max(high, height)


@dataclass(frozen=True, slots=True)
class Preprocess:
    """From an image to the network's input, as `zoo.Zoo.predict` does it."""

    transform: Callable[[Image.Image], Tensor]

    def __call__(self, image: Picture) -> Tensor:
        """A float32 tensor (C, H, W), normalized.

        Args:
            image: A file, a PIL image of any mode, or a uint8 array (H, W) or (H, W, 3).

        Raises:
            InvalidImage: It cannot be read, or its values have no range (`zoo.backbones.rgb`).
        """
        if isinstance(image, str | Path):
            return self.transform(read_image(image))
        if isinstance(image, EncodedImage):
            return self.transform(read_encoded(image))
        return self.transform(to_rgb(_in_memory(image), "the image", keep=True))


def _in_memory(image: Image.Image | Pixels) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    try:
        return Image.fromarray(np.asarray(image))
    except (TypeError, ValueError, AttributeError) as error:
        what = f"an array {np.shape(image)} of {np.asarray(image).dtype}"
        reason = f"is {what}; write uint8, (height, width) or (height, width, 3)"
        raise InvalidImage("the image", reason) from error


def read_image(path: Path | str, max_pixels: int | None = None) -> Image.Image:
    """Read an image as RGB; see `zoo.backbones.rgb`, and `opened` for ``max_pixels``.

    Raises:
        InvalidImage: It is missing, a folder, unreadable, or its values have no range.
    """
    try:
        # A pipe among the images would be waited for, for ever.
        with open_regular(path, path, follow=True) as file:
            return decode_image(file, str(path), max_pixels)
    except NotAFile as error:
        raise InvalidImage(path, f"is {error.found}, not an image") from error
    except FileNotFoundError as error:
        raise InvalidImage(path, "no such file") from error
    except ZooError:
        raise
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        raise InvalidImage(path, f"cannot be read: {error}") from error


def read_encoded(image: EncodedImage, max_pixels: int | None = None) -> Image.Image:
    """As `read_image`, of an image in memory."""
    if not image.data:
        raise InvalidImage(image.name, "has no image")
    return decode_image(BytesIO(image.data), image.name, max_pixels)


def decode_image(file: IO[bytes], name: str, max_pixels: int | None) -> Image.Image:
    """As `read_image`, of an open ``file``, which errors call ``name``."""
    try:
        with opened(file, name, max_pixels) as image:
            return to_rgb(image, name)
    except UnidentifiedImageError as error:
        raise InvalidImage(name, "is not a readable image") from error
    except ZooError:
        raise
    except Exception as error:  # decoders raise whatever they like
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InvalidImage(name, f"cannot be read: {reason}") from error
