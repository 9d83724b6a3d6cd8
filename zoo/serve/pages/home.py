"""Home: what there is for who asks."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.registry import Found
from zoo.serve.http.answer import Answer
from zoo.serve.hub.account import front
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.listing import readable
from zoo.serve.pages.page import show, site_of, wants_page

__all__ = ["Home", "Row", "home", "look_home"]


@dataclass(frozen=True, slots=True)
class Row:
    """A model in a list."""

    name: str
    architecture: str
    params: int | None
    license: str | None
    updated: str | None


@dataclass(frozen=True, slots=True)
class Home:
    """What there is for who asks."""

    query: str
    rows: tuple[Row, ...]


def look_home(ask: Ask) -> Home:
    """The models that may be read, last changed first."""
    rows = tuple(_row(path, found) for path, found in readable(ask, None).items())
    return Home(ask.call.query.get("q", ""), rows)


def _row(path: str, found: Found) -> Row:
    return Row(path, found.architecture, found.params, found.license, found.updated)


def home(ask: Ask) -> Answer:
    """The page for browsers; for others, how to use this with programs."""
    if not wants_page(ask.call):
        return front(ask)
    return show(site_of(ask), "home.html", look_home(ask))
