"""Words: numbers of things, as messages say them."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["plural", "some"]

NAMED = 4
"""Names that a sentence lists of many."""
LONGEST = 40
"""Characters of a name that it shows."""


def plural(number: int, one: str, several: str = "") -> str:
    """``1 file``, ``3 files``; ``several`` is what does not just end in s."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def some(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are: ``a, b, c, d and 4 more``."""
    shown = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in names[:NAMED]]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(shown) + more
