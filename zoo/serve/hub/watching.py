"""Watching: what those who run a server ask it."""

from __future__ import annotations

from msgspec.json import encode

from zoo.serve.http.answer import JSON, Answer
from zoo.serve.hub.ask import Ask

__all__ = ["audit"]

PAGE = 1000


def audit(ask: Ask) -> Answer:
    """Who changed what, and what was refused; oldest first, a page of it."""
    query = ask.call.query
    after, limit = (_number(query.get(name, "")) for name in ("after", "limit"))
    limit = min(limit or PAGE, PAGE)
    chosen = {name: query.get(name, "") for name in ("since", "who", "name")}
    rows = ask.hub.accounts.audit.rows(**chosen, after=after, limit=limit)
    more = ask.next_page(after=rows[-1].number) if len(rows) == limit else {}
    return Answer(headers={**JSON, **more}, body=encode([row.to_json() for row in rows]))


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 19 else 0
