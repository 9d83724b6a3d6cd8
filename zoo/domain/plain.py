"""Plain data: what JSON can hold, as anybody may have written it."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

__all__ = ["Json", "finite"]

Json: TypeAlias = dict[str, Any]
"""A JSON object, made by ``to_json`` or parsed; who reads it knows, or checks, what is in it."""


def finite(value: object) -> float | None:
    """A number, or a text that is one; None if it is anything else, NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
