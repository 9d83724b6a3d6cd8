"""Opened images as RGB of 8 bits, upright: how every image comes that a network sees.

| image | comes out |
| --- | --- |
| gray of 16 bits (or 12) | scaled: white stays white (which may be 0), and each level its share |
| integers of 32 bits, floats | refused: nothing says what is black and what white |
| with an orientation in its tags | turned, as viewers show it |
| with transparency | opaque |
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION

from zoo.errors import InvalidImage

__all__ = ["READING", "to_rgb"]

READING = 2
"""Goes up when images come out otherwise than before: what is kept of them is of one number."""
WHITE_IS_ZERO = 0
SIXTEEN = frozenset({"PNG", "PPM"})
"""Formats whose gray values have 16 bits at most: some versions of Pillow hold them in 32."""


def to_rgb(image: Image.Image, path: Path | str, *, keep: bool = False) -> Image.Image:
    """An image of any mode as RGB of 8 bits, upright. Errors call it ``path``; ``keep`` leaves
    ``image`` as it is, at the cost of a copy, else it may be turned.

    Raises: InvalidImage: Its values have no range, or it cannot be decoded to its end, for which
    decoders raise whatever they like, too.
    """
    white, tags = _white(image, path), getattr(image, "tag_v2", {})  # a copy has no tags
    image.load()
    image = image.copy() if keep else image
    with suppress(Exception):  # of damaged tags; the pixels are in order
        ImageOps.exif_transpose(image, in_place=True)
    if white:
        values = np.asarray(image, dtype=np.uint32)
        levels = (values * 255 + white // 2) // white
        if tags.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO:
            levels = 255 - levels
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    if isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # what Pillow warns that one should do
    return image.convert("RGB")


def _white(image: Image.Image, path: Path | str) -> int:
    """The value of white where that is above 255; else 0."""
    if image.mode == "F" or (image.mode == "I" and image.format not in SIXTEEN):
        values = "floats" if image.mode == "F" else "integers of 32 bits, or with a sign"
        raise InvalidImage(
            path,
            f"holds {values}, and nothing says which are black and white: "
            "scale them and save it with 8 or 16 bits",
        )
    if not image.mode.startswith("I"):
        return 0
    (bits, *_) = getattr(image, "tag_v2", {}).get(BITSPERSAMPLE, (16,))
    return int(2**bits - 1)
