"""Names that resemble one that nothing has, for messages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = ["near_names"]


def near_names(name: str, known: Iterable[str], *, most: int = 4, cutoff: float = 0.5) -> list[str]:
    """Up to ``most`` of the ``known``, the likeliest first, in whatever order their parts are:
    ``test_vit`` for ``vit_tst``.
    """
    sorted_parts: dict[str, str] = {}
    for each in known:
        sorted_parts.setdefault(_sorted(each), each)
    names = list(sorted_parts.values())
    ratios = {each: _ratio(name, each) for each in _matches(name, names, most, cutoff)}
    for form in _matches(_sorted(name), sorted_parts, most, cutoff):
        each = sorted_parts[form]
        ratios[each] = max(ratios.get(each, 0.0), _ratio(_sorted(name), form))
    return sorted(ratios, key=lambda each: -ratios[each])[:most]


def _matches(name: str, known: Iterable[str], most: int, cutoff: float) -> list[str]:
    return difflib.get_close_matches(name, list(known), n=most, cutoff=cutoff)


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, other, one).ratio()


def _sorted(name: str) -> str:
    """A name with its parts in the order of the alphabet."""
    return "_".join(sorted(re.split(r"[-_.]", name.lower())))
