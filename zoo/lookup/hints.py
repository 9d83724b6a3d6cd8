"""Hints: why a search finds nothing, as far as that is known, and what to search for instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zoo.domain.query import OF_DEVICE, Filter, Query
from zoo.domain.reference import is_pattern
from zoo.registry import Registry, VisibilityFilter

__all__ = ["Hint", "hints"]

PART = 3
"""Characters of the shortest part of a word that the index finds (docs/search.md)."""
LOOKED_AT = 20_000
"""So many results are looked at for what values a field has."""
ALTERNATIVES = ("OR", "|", "||")
"""Words that stand between alternatives elsewhere."""
NEAR = 4
"""So many near values and names are told."""
CANDIDATES = 20
"""So many near names are looked at for those that may be told."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What is wrong with a part of a query, and what the query may have meant."""

    text: str
    queries: tuple[str, ...] = ()


def hints(registry: Registry, query: Query, seen: VisibilityFilter | None = None) -> Iterator[Hint]:
    """What to tell of a query that nothing matches, to who may be told of ``seen``; None: of all.

    Names and values of what they may not be told of are left out.
    """
    for word in query.words:
        if word in ALTERNATIVES:
            yield Hint(
                f"all words and filters must hold, there is no {word}: ask for each by itself"
            )
            continue
        if is_pattern(word):
            meant = Filter("arch", ":", word)
            text = f"in a word * stands for nothing else: try {meant}, or zoo ls '{word}'"
            others = tuple(each for each in query.words if each != word)
            yield Hint(text, (str(Query(others, (*query.filters, meant))),))
        if len(word) < PART:
            yield Hint(f"'{word}' is found as a whole word only: a part takes {PART} characters")
        if near := _near_names(registry, word, query.words, seen):
            text = f"nothing has {word}; did you mean {' or '.join(near)}?"
            yield Hint(text, tuple(_with_word(query, word, name) for name in near))
    for each in query.filters:
        yield from _of_filter(registry, query, each, seen)


def _near_names(
    registry: Registry, word: str, words: Sequence[str], seen: VisibilityFilter | None
) -> list[str]:
    """Names like a word that is in nothing; of those the ones alone that have the others of the
    ``words``, too, if any has.
    """

    def known(name: str, *beside: str) -> int:
        named = Query(beside, (Filter("name", ":", name),))
        return registry.count(named, at_most=1, seen=seen)

    if registry.count(Query((word,)), at_most=1, seen=seen):
        return []
    others = [each for each in words if each not in (word, *ALTERNATIVES) and not is_pattern(each)]
    if others:
        near = [*registry.near("_".join(words), CANDIDATES), *registry.near(word, CANDIDATES)]
        if fitting := [name for name in dict.fromkeys(near) if known(name, *others)]:
            return fitting[:NEAR]
    if seen is None:
        return registry.near(word, NEAR)
    return [name for name in registry.near(word, CANDIDATES) if known(name)][:NEAR]


def _of_filter(
    registry: Registry, query: Query, asked: Filter, seen: VisibilityFilter | None
) -> Iterator[Hint]:
    field, value = asked.field, asked.value
    if field == "classes" and str(value).isdigit():
        meant = Filter("num_classes", "=", int(value))
        text = f"{asked} asks for a class of that name, {meant} for so many"
        yield Hint(text, (_with_filter(query, asked, meant),))
    measured = Query(filters=(Filter(field, ">=", 0),)) if OF_DEVICE.fullmatch(field) else None
    if measured and not registry.count(measured, at_most=1, seen=seen):
        device = field.partition(".")[2]
        yield Hint(f"nothing here has {field}: zoo bench NAME --device {device} measures it")
    for near in _near_values(registry, asked, seen):
        meant = Filter(field, ":", near)
        yield Hint(f"nothing has {asked}; there is {meant}", (_with_filter(query, asked, meant),))


def _near_values(registry: Registry, asked: Filter, seen: VisibilityFilter | None) -> Sequence[str]:
    """What a field of texts has that is like what was asked, where nothing has that."""
    known = registry.facets(Query(), at_most=LOOKED_AT, seen=seen).counts
    values, text = sorted(known.get(asked.field, ())), str(asked.value).lower()
    numbers = asked.field in ("pulled", "params")
    if numbers or is_pattern(text) or text in map(str.lower, values):
        return ()
    begin = [value for value in values if value.lower().startswith(text)]
    return (begin or difflib.get_close_matches(text, values))[:NEAR]


def _with_word(query: Query, word: str, meant: str) -> str:
    return str(Query(tuple(meant if each == word else each for each in query.words), query.filters))


def _with_filter(query: Query, asked: Filter, meant: Filter) -> str:
    filters = tuple(meant if each == asked else each for each in query.filters)
    return str(Query(query.words, filters))
