"""Whether a preprocessing can be run: anybody may have written it."""

from __future__ import annotations

from zoo.domain.limits import CHANNELS, CROP_LEAST, CROP_MOST, IMAGE_SIDE, STATISTIC
from zoo.domain.manifest import Preprocessing
from zoo.errors import Unsupported

__all__ = ["FILTERS", "ROUNDING_DOWN", "check_preprocessing"]

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


def _short(value: object) -> str:
    """A value for a message, however long it is."""
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value[:4]))}{', …' if len(value) > 4 else ''}]"
    if isinstance(value, int) and abs(value) >= 10**15:
        return "a number of more than 15 digits"
    return f"{value!r:.40}"
