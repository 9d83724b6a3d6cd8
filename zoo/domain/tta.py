"""Test-time augmentation, as it is asked for: ``flip``, or a number of views."""

from __future__ import annotations

from zoo.errors import InvalidOption

__all__ = ["FLIP", "MOST_VIEWS", "count_views"]

FLIP = "flip"
"""An image, and what a mirror shows of it."""
MOST_VIEWS = 12
"""The whole image, a little less of it in the middle and in each corner, and each mirrored."""


def count_views(tta: str) -> int:
    """How many views of an image are asked for: ``flip`` or ``2`` to ``12``; empty is one.

    Raises:
        InvalidOption: It is neither.
    """
    if tta in ("", FLIP):
        return 2 if tta else 1
    if tta.isascii() and tta.isdecimal() and 2 <= int(tta[:9]) <= MOST_VIEWS:
        return int(tta)
    raise InvalidOption(f"tta must be {FLIP}, or a number from 2 to {MOST_VIEWS}, not {tta!r:.40}")
