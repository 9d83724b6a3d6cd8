"""Whether a preprocessing can be run: anybody may have written it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from zoo.domain.limits import CHANNELS, CROP_LEAST, CROP_MOST, IMAGE_SIDE, STATISTIC
from zoo.domain.manifest import Preprocessing
from zoo.domain.plain import Json
from zoo.errors import Unsupported

__all__ = ["FILTERS", "ROUNDING_DOWN", "check_preprocessing", "steps_of"]

FILTERS = ("bicubic", "bilinear", "box", "hamming", "lanczos", "nearest")
"""Pillow's filters for resizing, by the names that timm has for them."""
MODES = ("border", "center", "squash")
ROUNDING_DOWN = ("transformers",)
"""Backbone plugins whose library rounds the margin of a center crop down; others round it as
torchvision, to the nearest integer, and a half to the even one."""


def check_preprocessing(how: Preprocessing) -> None:
    """See that all values are within the limits.

    Raises:
        Unsupported: The first that is not.
    """
    channels, *sides = how.input_size
    fits = 1 <= channels <= CHANNELS and all(1 <= side <= IMAGE_SIDE for side in sides)
    size = f"1 to {CHANNELS} channels, and a height and a width from 1 to {IMAGE_SIDE}"
    crop = CROP_LEAST <= how.crop_pct <= CROP_MOST
    means = bool(how.mean) and all(abs(each) <= STATISTIC for each in how.mean)
    least = 1 / STATISTIC
    stds = bool(how.std) and all(least <= each <= STATISTIC for each in how.std)
    checks: tuple[tuple[str, object, bool, str], ...] = (
        ("input_size", [*how.input_size], fits, size),
        ("crop_pct", how.crop_pct, crop, f"from {CROP_LEAST} to {CROP_MOST}"),
        ("mean", [*how.mean], means, f"from -{STATISTIC:g} to {STATISTIC:g}"),
        ("std", [*how.std], stds, f"from {least:g} to {STATISTIC:g}"),
        ("interpolation", how.interpolation, how.interpolation in FILTERS, ", ".join(FILTERS)),
        ("crop_mode", how.crop_mode, how.crop_mode in MODES, ", ".join(MODES)),
    )
    for name, value, holds, allowed in checks:
        if not holds:
            raise Unsupported(
                f"the preprocessing's {name} is {_short(value)}, and can be: {allowed}"
            )


def steps_of(how: Preprocessing, plugin: str) -> list[Json]:
    """What is done to an upright image, in order and in pixels, as the library of the backbone
    ``plugin`` does it; plain data for JSON. What each step means: docs/surgery.md, "ONNX".
    """
    channels, height, width = how.input_size
    border = how.crop_mode == "border"
    down = plugin in ROUNDING_DOWN and not border
    return [
        {"step": "mode", "mode": "L" if channels == 1 else "RGB"},
        {"step": "resize", **dict(_resized(how)), "filter": how.interpolation},
        {
            "step": "center_crop",
            "height": height,
            "width": width,
            "margin": "down" if down else "nearest",
            "fill": [round(255 * each) if border else 0 for each in how.mean],
        },
        {"step": "divide", "by": 255},
        {"step": "normalize", "mean": [*how.mean], "std": [*how.std]},
    ]


def _resized(how: Preprocessing) -> Iterator[tuple[str, int]]:
    """What an image is resized to: timm rounds the sides down."""
    high, wide = (math.floor(side / how.crop_pct) for side in how.input_size[1:])
    if how.crop_mode == "center" and high == wide:
        yield "shorter_side", high
        return
    fit = {"center": "least_", "border": "most_", "squash": ""}[how.crop_mode]
    yield f"{fit}height", high
    yield f"{fit}width", wide


def _short(value: object) -> str:
    """A value for a message, however long it is."""
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value[:4]))}{', …' if len(value) > 4 else ''}]"
    if isinstance(value, int) and abs(value) >= 10**15:
        return "a number of more than 15 digits"
    return f"{value!r:.40}"
