"""Suggestions: similar names, for a name that nothing answers to."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, Select, select

from zoo.registry import index, terms
from zoo.registry.items import ITEM, shown_name

__all__ = ["near"]

CANDIDATES = 200
"""For how many names difflib is asked: it takes tens of microseconds for each."""
LOOKED_AT = 400
"""How many names are taken that share one and the same part with the name."""
PARTS = 4


def near(connection: Connection, name: str, limit: int = 4) -> list[str]:
    """Up to ``limit`` known names that resemble ``name``, closest first.

    A name that goes on where ``name`` stops is closest. Parts that ``name`` leaves out (namespace,
    tag) are left out of the comparison too, so that a forgotten part costs no similarity.
    """
    typed = terms.fold(name.strip())
    if not typed:
        return []
    shaped: dict[str, list[str]] = {}
    for known in _sharing(connection, typed):
        shaped.setdefault(_shape_like(typed, terms.fold(known)), []).append(known)
    keys = sorted((key for key in shaped if key.startswith(typed)), key=len)
    keys += difflib.get_close_matches(typed, _alike(typed, shaped), n=limit)
    keys += [key for key in shaped if typed in key]
    names = dict.fromkeys(known for key in keys for known in shaped[key])
    return list(names)[:limit]


def _sharing(connection: Connection, typed: str) -> list[str]:
    """Names that hold all of what was typed, or all but one of its parts, or one of them; sorted.

    A slip of the finger spoils a part, or two next to each other.
    """
    size = max(terms.LENGTH, -(-len(typed) // PARTS))
    parts = [typed[at : at + size] for at in range(0, len(typed), size)]
    all_but_one = [parts[:at] + parts[at + 1 :] for at in range(len(parts))]
    names: set[str] = set()
    for together in ([typed], *all_but_one, *([part] for part in parts)):
        wanted = [threes for part in together if (threes := terms.part(part))]
        if wanted and len(names) < LOOKED_AT:
            names.update(_having(connection, wanted))
    return sorted(names)


def _having(connection: Connection, wanted: terms.Wanted) -> Iterator[str]:
    ids: Select[tuple[int]] = index.having(wanted).limit(LOOKED_AT)
    rows = connection.execute(select(ITEM.c.name, ITEM.c.ref_tag).where(ITEM.c.id.in_(ids)))
    return (shown_name(row.name, row.ref_tag) for row in rows)


def _alike(typed: str, names: Iterable[str]) -> list[str]:
    pairs = {typed[at : at + 2] for at in range(len(typed) - 1)}
    return heapq.nlargest(CANDIDATES, names, key=lambda name: sum(pair in name for pair in pairs))


def _shape_like(typed: str, known: str) -> str:
    _, slash, last = typed.rpartition("/")
    if ":" not in last:
        known = known.partition(":")[0]
        if "." not in last:
            head, known_slash, tail = known.rpartition("/")
            known = head + known_slash + tail.partition(".")[0]
    return known if slash else known.rpartition("/")[2]
