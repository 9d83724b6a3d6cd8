"""Terms: what an item can be found by, whatever engine keeps the index of them.

A term is three characters in a row of the item's text, or, behind ``=``, a whole word of it, of its
card, or a whole value such as a class name. So a part of a name is found by its threes, and a word
of prose only whole: in prose a part of a word always occurs ("lite" in "satellite").

What an item has is a set: it says that all threes of a part are there, not that they are in a row.
Whoever asks checks the text of what was found. So it is with numbers and dates: an item has a term
for each step that it is below or beyond, and a filter asks for the nearest step.

A change of what `terms_of` returns is a new `VERSION`: older indexes are then made again.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

__all__ = [
    "LENGTH",
    "NAMED",
    "VERSION",
    "Wanted",
    "fold",
    "join",
    "part",
    "step",
    "terms_of",
    "whole",
    "word",
]

VERSION = 3
LENGTH = 3
NAMED = "~"
"""The term of what is here or at a remote."""
MOST_THREES = 40
"""Of a longer part the first will do."""
SEPARATOR = re.compile(r"[\W_]+")
EDGES = re.compile(r"^[\W_]+|[\W_]+$")

BELOW: Mapping[str, Sequence[Any]] = {
    "params": (*(digit * 10**zeros for zeros in (6, 7, 8) for digit in (1, 3, 5)), 10**9),
}
"""The steps that a value may be below."""
QUARTERS = ("01", "04", "07", "10")
FROM: Mapping[str, Sequence[Any]] = {
    "input": (256, 288, 320, 384, 448, 512),
    "updated": tuple(f"{year}-{month}" for year in range(2020, 2032) for month in QUARTERS),
}
"""The steps that a value may be at or beyond."""

Wanted = Sequence[Sequence[Sequence[str]]]
"""All of these; of each, one at least; of that, all terms."""


def fold(text: str) -> str:
    """Text as it is compared: case does not count."""
    return text.casefold()


def join(values: Iterable[str | None]) -> str:
    """Search text: a line for each value that is not within another one's before it."""
    lines: list[str] = []
    for value in values:
        if value and (line := fold(value).replace("\n", " ")) not in "\n".join(lines):
            lines.append(line)
    return "\n".join(lines)


def terms_of(
    text: str,
    *,
    values: Iterable[str | None] = (),
    card: str | None = None,
    named: bool = False,
    measures: Mapping[str, Any] | None = None,
) -> str:
    """All terms of an item, in any order, separated by spaces and safe within any index.

    Args:
        text: What `join` made.
        values: What is found only whole.
        card: Prose.
        named: Whether it is here or at a remote.
        measures: Numbers and dates by field, of those that have steps.
    """
    words = set(fold(card).split()) if card else set()
    wholes = {fold(value).replace("\n", " ") for value in values if value}
    terms = {safe(NAMED)} if named else set()
    for line in text.split("\n"):
        terms.update(_threes(safe(line)))  # as safe as each three made safe, and quicker
        wholes.add(line)
        words.add(line)
    for each in words:
        if each.isalnum():
            wholes.add(each)
        else:
            wholes.add(EDGES.sub("", each))
            wholes.update(SEPARATOR.split(each))
    wholes.discard("")
    # What has letters and digits only is safe: most are, and there are very many.
    terms.update([SAFE_WHOLE + (each if each.isalnum() else safe(each)) for each in wholes])
    for field, value in (measures or {}).items():
        if value is not None:
            terms.update(_steps(field, value))
    return " ".join(terms)


def word(text: str) -> Sequence[Sequence[str]]:
    """The terms that a word of a search may be found by: as a part of the text, or whole."""
    return [*part(text), [whole(text)]]


def part(text: str) -> Sequence[Sequence[str]]:
    """The terms of a part of an item's text; none if it is too short for that."""
    threes = list(dict.fromkeys(_threes(fold(text))))[:MOST_THREES]
    return [threes] if threes else []


def whole(text: str) -> str:
    """The term of a whole value."""
    return "=" + fold(text).replace("\n", " ")


def step(field: str, operator: str, value: Any) -> str | None:
    """A term of all that a filter on a number or a date finds; None if there is no such step."""
    if operator in ("<", "<="):
        beyond = [
            at for at in BELOW.get(field, ()) if at > value or (at == value and operator == "<")
        ]
        return f"{field}<{beyond[0]}" if beyond else None
    reached = [at for at in FROM.get(field, ()) if at <= value]
    return f"{field}>{reached[-1]}" if reached else None


def safe(term: str) -> str:
    """A term of which no engine takes a character for a separator or an operator."""
    return term.translate(SAFE)


def _steps(field: str, value: Any) -> Iterator[str]:
    """Safe terms of the steps that a value is below, and of those that it is at or beyond."""
    yield from SAFE_BELOW.get(field, ())[bisect_right(BELOW.get(field, ()), value) :]
    yield from SAFE_FROM.get(field, ())[: bisect_right(FROM.get(field, ()), value)]


def _threes(text: str) -> list[str]:
    return [text[at : at + LENGTH] for at in range(len(text) - LENGTH + 1)]


# Into the private use area: letters and digits stay, the index stays small.
SAFE = {
    code: 0xE000 + code
    for code in (*range(128), *range(0x80, 0xA1), 0x1680, *range(0x2000, 0x2010), 0x2028, 0x2029)
    if not chr(code).isalnum()
}
SAFE_WHOLE = safe("=")
SAFE_BELOW, SAFE_FROM = (
    {field: [safe(f"{field}{sign}{at}") for at in steps] for field, steps in known.items()}
    for sign, known in (("<", BELOW), (">", FROM))
)
