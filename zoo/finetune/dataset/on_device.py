"""Augmentation of whole batches on the device that trains, as timm's transforms do it to images.

What is drawn on the host (`zoo.finetune.dataset.drawn`) is done here. Colors go through Pillow's
arithmetic, with its rounding after each step. Images that are turned or shifted are interpolated by
torch, whose bicubic kernel is another than Pillow's. What is erased has noise of the device's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.data.auto_augment import RandAugment
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import ColorJitter, RandomHorizontalFlip
from torchvision.transforms.v2 import functional as v2

from zoo.backbones.moved import moved
from zoo.domain.manifest import Preprocessing
from zoo.errors import InvalidOption
from zoo.finetune.dataset.drawn import Drawing, noting, unpacked

__all__ = ["Finish", "split"]

FILTERS = ("nearest", "bilinear", "bicubic")
"""By which torch interpolates images that are turned."""
Number = Tensor | float


@dataclass(frozen=True, slots=True)
class Finish:
    """What is left of a training transform for a device."""

    how: Preprocessing
    fill: tuple[int, ...]  # the color of what comes into an image from outside of it

    def __call__(self, packed: Tensor, device: torch.device) -> Tensor:
        """From images in bytes (N, B) on the host, which may be changed, to normalized ones
        (N, C, H, W) float32 on ``device``, which is not waited for.
        """
        count = math.prod(self.how.input_size)
        rows = unpacked(packed, count)
        # Sorted on the host, at once for all places: each copy to a device takes its time.
        order, much = moved(rows.kinds.argsort(dim=0), device), moved(rows.much, device)
        colors = moved(torch.tensor([self.fill, self.how.mean, self.how.std]), device)
        fill, mean, std = colors.reshape(3, -1, 1, 1)
        images = moved(packed, device)[:, :count].reshape(-1, *self.how.input_size)
        for place, kinds in enumerate(rows.kinds.unbind(1)):
            counts = kinds.bincount(minlength=len(NAMES)).tolist()
            for name, some in zip(NAMES, torch.split(order[:, place], counts), strict=True):
                if not len(some) or not name:
                    continue
                each = much[some, place].reshape(-1, 1, 1, 1)
                if name in COLORS:
                    images[some] = COLORS[name](images[some], each)
                else:
                    images[some] = self._placed(images[some], MATRICES[name], each, fill)
        floats = images.float()
        floats.div_(255).sub_(mean).div_(std)
        generator = torch.Generator(device)
        for image, (top, left, bottom, right, seed) in zip(floats, rows.boxes, strict=True):
            if bottom:
                box = image[:, top:bottom, left:right]
                box.normal_(generator=generator.manual_seed(seed))
        return floats

    def _placed(self, images: Tensor, matrix: Matrix, much: Tensor, fill: Tensor) -> Tensor:
        """Each pixel from where an affine ``matrix`` says, as `PIL.Image.Image.transform` does."""
        high, wide = images.shape[-2:]
        a, b, c, d, e, f = matrix(much[:, 0], wide, high)
        x = torch.arange(wide, device=images.device) + 0.5
        y = (torch.arange(high, device=images.device) + 0.5).unsqueeze(1)
        shape = len(images), high, wide
        across, down = (a * x + b * y + c).expand(shape), (d * x + e * y + f).expand(shape)
        grid = torch.stack([2 * across / wide - 1, 2 * down / high - 1], dim=-1)
        pixels = functional.grid_sample(
            images.float(),
            grid,
            mode=self.how.interpolation,
            padding_mode="border",
            align_corners=False,
        )
        inside = (across >= 0) & (across < wide) & (down >= 0) & (down < high)
        return torch.where(inside.unsqueeze(1), pixels.clamp_(0, 255), fill).to(torch.uint8)


def split(steps: Sequence[Any], how: Preprocessing, level: str) -> tuple[Drawing, Finish]:
    """The host's part and the device's of timm's training transform, whose first step crops; its
    ``steps`` are changed.

    Raises:
        InvalidOption: A device cannot do it.
    """
    crop, *rest = steps
    kept, fill = list[Any](), (0,) * how.input_size[0]
    for step in rest:
        if isinstance(step, RandAugment):
            if how.interpolation not in FILTERS:
                raise InvalidOption(
                    f"augment {level} turns images by the base's filter, {how.interpolation}, "
                    f"and a device has {', '.join(FILTERS)}: augment on the host"
                )
            noting(step)
            fill = step.ops[0].kwargs["fillcolor"]
        elif isinstance(step, RandomErasing):
            step.per_pixel = False  # the noise that the host would draw
        if isinstance(step, RandAugment | RandomErasing | RandomHorizontalFlip | ColorJitter):
            kept.append(step)
    return Drawing(crop, kept, NAMES), Finish(how, fill)


def _blended(one: Tensor, images: Tensor, much: Tensor) -> Tensor:
    """``one`` for 0, ``images`` for 1, and what lies between and beyond, rounded as Pillow does."""
    return (one + much * (images - one)).clamp_(0, 255).to(torch.uint8)


def _gray(images: Tensor) -> Tensor:
    """(N, 1, H, W) float32, of whole numbers: Pillow's ``L``."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.int().unbind(1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).float().unsqueeze(1)


def _contrast(images: Tensor, much: Tensor) -> Tensor:
    mean = _gray(images).mean(dim=(1, 2, 3), keepdim=True)
    return _blended(mean.add_(0.5).floor_(), images, much)


def _sharpness(images: Tensor, much: Tensor) -> Tensor:
    smooth = images.float()  # Pillow's filter SMOOTH leaves the border as it is
    inner = smooth[..., 1:-1, 1:-1]
    around = functional.avg_pool2d(smooth, 3, stride=1, divisor_override=1)
    inner.copy_(around.add_(inner, alpha=4).div_(13).round_())
    return _blended(smooth, images, much)


def _solarize_add(images: Tensor, much: Tensor) -> Tensor:
    added = (images + much).clamp_(0, 255).to(torch.uint8)
    return torch.where(images < 128, added, images)


def _rotate(degrees: Tensor, wide: int, high: int) -> tuple[Number, ...]:
    """About the center, against the clock."""
    cos, sin = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    x, y = wide / 2, high / 2
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


COLORS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mirror": lambda images, _: v2.horizontal_flip_image(images),
    "brightness": lambda images, much: _blended(torch.zeros_like(much), images, much),
    "contrast": _contrast,
    "color": lambda images, much: _blended(_gray(images), images, much),
    "sharpness": _sharpness,
    "auto_contrast": lambda images, _: v2.autocontrast_image(images),
    "equalize": lambda images, _: v2.equalize_image(images),
    "invert": lambda images, _: v2.invert_image(images),
    "posterize": lambda images, bits: images & (256 - 2 ** (8 - bits)).to(torch.uint8),
    "solarize": lambda images, least: torch.where(images < least, images, 255 - images),
    "solarize_add": _solarize_add,
}
"""From images (N, C, H, W) uint8, and how much (N, 1, 1, 1), by the names of timm's functions."""

Matrix = Callable[[Tensor, int, int], tuple[Number, ...]]
MATRICES: Mapping[str, Matrix] = {
    "rotate": _rotate,
    "shear_x": lambda much, *_: (1, much, 0, 0, 1, 0),
    "shear_y": lambda much, *_: (1, 0, 0, much, 1, 0),
    "translate_x_rel": lambda much, wide, _: (1, 0, much * wide, 0, 1, 0),
    "translate_y_rel": lambda much, _, high: (1, 0, 0, 0, 1, much * high),
}
"""From how much (N, 1, 1), width and height to a, b, c, d, e, f: the pixel at x, y comes from
a x + b y + c, d x + e y + f."""

NAMES = ("", *COLORS, *MATRICES)
"""By number; the first is nothing."""
