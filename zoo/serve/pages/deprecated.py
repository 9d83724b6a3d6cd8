"""Deprecated: the names that are to be used no more, and what instead."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.serve.hub.ask import Ask
from zoo.serve.pages.known import KnownCheckpoint
from zoo.serve.pages.number import number_in

__all__ = ["Deprecation", "DeprecatedPage", "look_deprecated"]

ROWS = 100
DEPRECATE = "deprecate"
"""Why the name was given an entry that says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deprecation:
    """A name, why it is to be used no more, and when and by whom that was said; empty where it
    moved since, and what was said stayed.
    """

    name: str
    where: KnownCheckpoint
    why: str
    at: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeprecatedPage:
    """Some of them.

    Attributes:
        rows: Them, by name.
        total: How many there are for who asks.
        number: Which page this is, of how many.
        beyond: The page that was asked for, where there is none; else 0.
        pages: How many there are.
        complete: Whether all names were looked at yet.
    """

    rows: tuple[Deprecation, ...]
    total: int
    number: int
    beyond: int
    pages: int
    complete: bool


def look_deprecated(ask: Ask) -> DeprecatedPage:
    """Those that who asks may read."""
    asks, (known, complete) = ask.knowing_all(), ask.hub.deprecations.all()
    deprecations = [
        Deprecation(
            name=str(ref),
            where=KnownCheckpoint.of(ref),
            why=entry.deprecated,
            at=entry.at if entry.why == DEPRECATE else "",
            by=entry.by if entry.why == DEPRECATE else "",
        )
        for ref, entry in known.items()
        if asks.may("read", ref.path)
    ]
    pages = max(1, -(-len(deprecations) // ROWS))
    asked = number_in(ask.call, "page", least=1)
    number = min(asked, pages)
    rows = tuple(deprecations[(number - 1) * ROWS : number * ROWS])
    return DeprecatedPage(
        rows=rows,
        total=len(deprecations),
        number=number,
        beyond=asked if asked > pages else 0,
        pages=pages,
        complete=complete,
    )
