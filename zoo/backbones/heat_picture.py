"""Heat picture: an image as a network sees it, and over it which part speaks for a class."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from zoo.domain.manifest import Preprocessing

__all__ = ["draw_heat", "seen_by"]

RAMP = np.array([(60, 20, 120), (215, 50, 90), (255, 150, 40), (255, 240, 130)], np.float32)
"""Colors from none of the heat to all of it."""
COVER = 0.7
"""Share of the color where it is hottest."""


def seen_by(tensor: Tensor, preprocessing: Preprocessing) -> Image.Image:
    """The image that the input (C, H, W) of a network is, after it was resized and cropped."""
    mean, std = (
        torch.tensor(each).view(-1, 1, 1) for each in (preprocessing.mean, preprocessing.std)
    )
    levels = ((tensor.cpu() * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.expand(3, -1, -1).permute(1, 2, 0).numpy().copy())


def draw_heat(seen: Image.Image, heat: Tensor) -> Image.Image:
    """The image, gray, with ``heat`` (h, w), at least 0, over it; the hottest place is yellow."""
    scaled = heat / heat.max().clamp(min=torch.finfo(heat.dtype).tiny)
    size = seen.height, seen.width
    whole = functional.interpolate(scaled[None, None].cpu(), size=size, mode="bilinear")
    share = whole[0, 0].clamp(0, 1).numpy()
    at, steps = share * (len(RAMP) - 1), np.arange(len(RAMP))
    color = np.stack([np.interp(at, steps, channel) for channel in RAMP.T], axis=-1)
    cover = COVER * share[..., None]
    # Gray, as the colors of the image could be those of the heat.
    gray = np.asarray(seen.convert("L"), np.float32)[..., None]
    mixed = gray * (1 - cover) + color * cover
    return Image.fromarray(mixed.round().astype(np.uint8))
