"""Terms: what an item can be found by, whatever engine keeps the index of them.

A term is three characters in a row of the item's text, or, behind ``=``, a whole word of it, of its
card, or a whole value such as a class name. So a part of a name is found by its threes, and a word
of prose only whole: in prose a part of a word always occurs ("lite" in "satellite").

What an item has is a set: it says that all threes of a part are there, not that they are in a row.
Whoever asks checks the text of what was found.

A change of what `terms_of` returns is a new `VERSION`: older indexes are then made again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = [
    "LENGTH",
    "NAMED",
    "VERSION",
    "Wanted",
    "fold",
    "join",
    "part",
    "terms_of",
    "whole",
    "word",
]

VERSION = 4
LENGTH = 3
NAMED = "~"
"""The term of what is here or at a remote."""
MOST_CHARACTERS = 120
"""Of a longer part the first will do: a query may come from anybody, and each term is a look-up."""
RUN = re.compile(r"[^\W_]+")
TOKEN = re.compile(r"[^\W_](?:\S*[^\W_])?")
"""What stands between spaces, without the punctuation around it."""
CONTROLS = dict.fromkeys((*range(32), 127), "\ufffd") | {ord("\n"): " "}
"""No engine's index takes all of these."""

Wanted = Sequence[Sequence[Sequence[str]]]
"""All of these; of each, one at least; of that, all terms."""


def fold(text: str) -> str:
    """A line of text as it is compared: capitals do not count, and control characters are alike."""
    folded = text.casefold()
    return folded if folded.isprintable() else folded.translate(CONTROLS)


def join(values: Iterable[str | None]) -> str:
    """Search text: a line for each value that is not within another one's before it."""
    joined = ""
    for value in values:
        if value and (line := fold(value)) not in joined:
            joined += f"\n{line}" if joined else line
    return joined


def terms_of(text: str, *, values: Iterable[str | None], card: str | None, named: bool) -> str:
    """All terms of an item, in any order, a line each: of the ``text`` that `join` made, of
    ``values`` that are found only whole, of the ``card``; and whether it is ``named`` here.
    """
    lines = text.split("\n")
    words = text.split() + (fold(" ".join(card.split())).split() if card else [])
    wholes = {word for word in words if word.isalnum()}  # the most, which no pattern need look at
    others = " ".join({*words} - wholes)
    wholes.update(RUN.findall(others), TOKEN.findall(others), lines)
    wholes.update(map(fold, filter(None, values)))
    threes = {NAMED} if named else set()
    threes.update(*map(_threes, lines))
    return "\n".join(["\n".join(threes), *map("=".__add__, wholes - {""})])


def word(text: str) -> list[list[str]]:
    """The terms that a word of a search may be found by: as a part of the text, or whole."""
    return [*part(text), [whole(text)]]


def part(text: str) -> list[list[str]]:
    """Terms of a part of an item's text; none if it is too short for that."""
    threes = _threes(fold(text)[:MOST_CHARACTERS])
    # Every other one: found in half the time, and yet "tenten" is more than two times "ten".
    return [list(dict.fromkeys([*threes[::2], threes[-1]]))] if threes else []


def whole(text: str) -> str:
    """The term of a whole value."""
    return "=" + fold(text)


def _threes(text: str) -> list[str]:
    return list(map("".join, zip(text, text[1:], text[2:], strict=False)))
