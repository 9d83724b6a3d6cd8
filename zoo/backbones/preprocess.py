"""Images into input: the transform that travels with the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError
from timm.data import create_transform

from zoo.backbones.rgb import to_rgb
from zoo.domain.manifest import Preprocessing
from zoo.errors import InvalidImage

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Preprocess", "inference_transform", "read_image"]


def inference_transform(preprocessing: Preprocessing) -> Callable[[Image.Image], Tensor]:
    """From an RGB image of any size to a float32 tensor (C, H, W), normalised."""
    transform: Callable[[Image.Image], Tensor] = create_transform(
        input_size=preprocessing.input_size,
        is_training=False,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
    )
    return transform


@dataclass(frozen=True, slots=True)
class Preprocess:
    """From an opened image of any mode to the network's input, as `zoo.predict` does it.

    Attributes:
        transform: Of an RGB image.
    """

    transform: Callable[[Image.Image], Tensor]

    def __call__(self, image: Image.Image) -> Tensor:
        """A float32 tensor (C, H, W), normalised.

        Raises:
            InvalidImage: Its values have no range (`zoo.backbones.rgb`).
        """
        return self.transform(to_rgb(image, "the image", keep=True))


def read_image(path: Path | str) -> Image.Image:
    """Read an image as RGB; see `zoo.backbones.rgb`.

    Raises:
        InvalidImage: It is missing, a folder, no readable image, or one whose values have no range.
    """
    try:
        with Image.open(path) as image:
            return to_rgb(image, path)
    except FileNotFoundError as error:
        raise InvalidImage(path, "no such file") from error
    except IsADirectoryError as error:
        raise InvalidImage(path, "is a folder, not an image") from error
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InvalidImage(path, "is not a readable image") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidImage(path, f"cannot be read: {error}") from error
