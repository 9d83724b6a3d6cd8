"""Duration: a span of time as a user writes it: ``90s``, ``10m``, ``1h30m``; ``0`` is none."""

from __future__ import annotations

import re
from math import ceil, isfinite

from zoo.errors import InvalidOption

__all__ = ["budget_for", "seconds_of", "time_of"]

LONG = 100
"""Seconds from which on minutes are said."""
MARGIN = 1.5
"""By which what was estimated may be too little."""

SPAN = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m(?:in)?)?(?:(\d{1,6})s)?")


def seconds_of(text: str | float) -> float:
    """The seconds of a duration, which may be given as their number.

    Raises:
        InvalidOption: It is none.
    """
    if not isinstance(text, str):
        if not (isfinite(text) and text >= 0):
            raise InvalidOption(f"{text} is no duration: seconds are a number from 0 on")
        return text
    match = SPAN.fullmatch(text.strip().lower())
    if text.strip() == "0":
        return 0
    if match is None or not any(match.groups()):
        raise InvalidOption(f"'{text:.40}' is no duration: write 90s, 10m, 1h30m, or 0 for none")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def time_of(seconds: float) -> str:
    """A time that something takes, as it is said: ``40 s``, ``3 min``."""
    return f"{seconds:.0f} s" if seconds < LONG else f"{seconds / 60:.0f} min"


def budget_for(seconds: float) -> str:
    """What to write for a budget in which something fits that is estimated to take so long."""
    return f"{max(1, ceil(MARGIN * seconds / 60))}m"
