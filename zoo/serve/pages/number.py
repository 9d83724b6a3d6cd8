"""Number: which page of a list is asked for."""

from __future__ import annotations

from zoo.serve.http.call import Call

__all__ = ["number_in"]


def number_in(call: Call, name: str, *, least: int) -> int:
    """The number that the query has as ``name``; ``least`` if it has none, or a smaller one."""
    text = call.query.get(name, "")
    return max(least, int(text)) if text.isascii() and text.isdecimal() and len(text) < 7 else least
