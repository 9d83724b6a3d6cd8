"""Whether a preprocessing can be carried out: anybody may have written it."""

from __future__ import annotations

from typing import Any

from zoo.domain.limits import CHANNELS, CROP_LEAST, CROP_MOST, IMAGE_SIDE, STATISTIC
from zoo.domain.manifest import Preprocessing
from zoo.errors import Unsupported

__all__ = ["check_preprocessing"]

FILTERS = ("bicubic", "bilinear", "box", "hamming", "lanczos", "nearest")
MODES = ("border", "center", "squash")


def check_preprocessing(how: Preprocessing) -> None:
    """See that all values are within the limits.

    Raises:
        Unsupported: The first that is not.
    """
    channels, *sides = how.input_size
    checks: tuple[tuple[str, Any, bool, str], ...] = (
        (
            "input_size",
            [*how.input_size],
            1 <= channels <= CHANNELS and all(1 <= side <= IMAGE_SIDE for side in sides),
            f"1 to {CHANNELS} channels, and a height and a width from 1 to {IMAGE_SIDE}",
        ),
        (
            "crop_pct",
            how.crop_pct,
            CROP_LEAST <= how.crop_pct <= CROP_MOST,
            f"from {CROP_LEAST} to {CROP_MOST}",
        ),
        (
            "mean",
            [*how.mean],
            bool(how.mean) and all(abs(each) <= STATISTIC for each in how.mean),
            f"from -{STATISTIC:g} to {STATISTIC:g}",
        ),
        (
            "std",
            [*how.std],
            bool(how.std) and all(1 / STATISTIC <= each <= STATISTIC for each in how.std),
            f"from {1 / STATISTIC:g} to {STATISTIC:g}",
        ),
        ("interpolation", how.interpolation, how.interpolation in FILTERS, ", ".join(FILTERS)),
        ("crop_mode", how.crop_mode, how.crop_mode in MODES, ", ".join(MODES)),
    )
    for name, value, holds, wanted in checks:
        if not holds:
            raise Unsupported(
                f"the preprocessing's {name} is {_short(value)}, and can be: {wanted}"
            )


def _short(value: Any) -> str:
    """A value for a message, however long it is."""
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value[:4]))}{', …' if len(value) > 4 else ''}]"
    if isinstance(value, int) and abs(value) >= 10**15:
        return "a number of more than 15 digits"
    return f"{value!r:.40}"
