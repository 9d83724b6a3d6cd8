"""Duration: a span of time as a user writes it: ``90s``, ``10m``, ``1h30m``; ``0`` is none."""

from __future__ import annotations

import re

from zoo.errors import InvalidOption

__all__ = ["seconds_of"]

SPAN = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?")


def seconds_of(text: str) -> int:
    """The seconds of a duration.

    Raises:
        InvalidOption: It is none.
    """
    match = SPAN.fullmatch(text.strip().lower())
    if text.strip() == "0":
        return 0
    if match is None or not any(match.groups()):
        raise InvalidOption(f"'{text:.40}' is no duration: write 90s, 10m, 1h30m, or 0 for none")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds
