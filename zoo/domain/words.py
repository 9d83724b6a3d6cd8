"""Words: numbers of things, as messages say them."""

from __future__ import annotations

__all__ = ["plural"]


def plural(number: int, one: str, several: str = "") -> str:
    """``1 file``, ``3 files``; ``several`` is what does not just end in s."""
    return f"{number} {one if number == 1 else several or one + 's'}"
