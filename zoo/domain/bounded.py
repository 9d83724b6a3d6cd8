"""JSON from strangers: what it would take to parse it is known before it is parsed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any, TypeVar

__all__ = ["nesting", "parse", "unrolled"]

# Whatever is within quotes, to the end where the last are open; it gives nothing back, so that its
# time is that of one pass.
STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
SHALLOW = 64
"""Nesting for which there is always room on the stack."""

T = TypeVar("T")


def parse(data: bytes, *, values: int, deepest: int) -> Any:
    """Parse JSON of at most that many ``values``, and as many strings, no more than ``deepest``
    within each other.

    Raises:
        ValueError: It has more, or is not JSON.
    """
    many = data.count(b'"') > 2 * values
    bare = b"" if many else STRINGS.sub(b"", data)
    if many or sum(bare.count(mark) for mark in (b",", b"[", b"{")) > values:
        raise ValueError(f"it has more than {values} values")
    depth = nesting(bare)
    if depth > deepest:
        raise ValueError(f"its lists and objects are nested {depth} deep; the most is {deepest}")
    return unrolled(lambda: json.loads(data)) if depth > SHALLOW else json.loads(data)


def nesting(bare: bytes) -> int:
    """How deep lists and objects are within each other in JSON without its strings."""
    brackets = bare.translate(None, NO_BRACKETS)
    return max(accumulate(STEP[bracket] for bracket in brackets), default=0)


def unrolled(work: Callable[[], T]) -> T:
    """Do ``work`` on an empty stack: json goes one call down for each level, and how much room
    there is for that must not depend on who calls.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()
