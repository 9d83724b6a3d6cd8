"""Near: similar names, for a name that nothing answers to."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, select

from zoo.domain.reference import DEFAULT_TAG
from zoo.registry import schema

__all__ = ["near"]

CANDIDATES = 200


def near(connection: Connection, name: str, limit: int) -> list[str]:
    """Up to ``limit`` known names that resemble ``name``, closest first.

    A name that goes on where ``name`` stops is closest. Parts that ``name`` leaves out (namespace,
    tag) are left out of the comparison too, so that a forgotten part costs no similarity.
    """
    typed = name.strip().lower()
    if not typed:
        return []
    shaped: dict[str, list[str]] = {}
    for known in _names(connection):
        shaped.setdefault(_shape_like(typed, known.lower()), []).append(known)
    keys = sorted((key for key in shaped if key.startswith(typed)), key=len)
    keys += difflib.get_close_matches(typed, _alike(typed, shaped), n=limit)
    keys += [key for key in shaped if typed in key]
    found = dict.fromkeys(known for key in keys for known in shaped[key])
    return list(found)[:limit]


def _alike(typed: str, names: Iterable[str]) -> list[str]:
    # difflib takes tens of microseconds a name: too many for all names of a large zoo.
    pairs = {typed[at : at + 2] for at in range(len(typed) - 1)}
    return heapq.nlargest(CANDIDATES, names, key=lambda name: sum(pair in name for pair in pairs))


def _names(connection: Connection) -> Iterator[str]:
    for table in (schema.ref, schema.remote_ref):
        parts = (table.c.namespace, table.c.name, table.c.tag)
        for namespace, name, tag in connection.execute(select(*parts).distinct().order_by(*parts)):
            yield f"{namespace}/{name}" if tag == DEFAULT_TAG else f"{namespace}/{name}:{tag}"
    yield from connection.scalars(select(schema.entry.c.name).order_by(schema.entry.c.name))


def _shape_like(typed: str, known: str) -> str:
    _, slash, last = typed.rpartition("/")
    if ":" not in last:
        known = known.partition(":")[0]
        if "." not in last:
            head, known_slash, tail = known.rpartition("/")
            known = head + known_slash + tail.partition(".")[0]
    return known if slash else known.rpartition("/")[2]
