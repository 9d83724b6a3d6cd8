"""Watching: what those who run a server ask it."""

from __future__ import annotations

import shutil
from contextlib import suppress

from msgspec.json import encode

from zoo.domain.progress import clean
from zoo.errors import ZooError
from zoo.serve.http.answer import JSON, Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.reach import sees_all
from zoo.serve.watch.metrics import TYPE
from zoo.serve.watch.scrub import ScrubState, read_scrubbed

__all__ = ["audit", "metrics", "ready"]

PAGE = 1000
HERE = ("127.0.0.1", "::1")
DIGITS = 13
"""So many hex digits are a number that no figure of Prometheus rounds."""


def ready(ask: Ask) -> Answer:
    """Whether the server can do its work; 503 with what is not well."""
    checks = ask.hub.health.look()
    return json_answer(checks, 200 if all(checks.values()) else 503)


def metrics(ask: Ask) -> Answer:
    """Figures for Prometheus: for admins, and for this machine where no proxy is in front, as then
    all requests come from here.
    """
    actor, hub = ask.actor, ask.hub
    is_here = not actor.name and not hub.public_url and ask.call.address in HERE
    if not is_here and not sees_all(actor):
        raise Refused("Forbidden" if actor.name else "NoToken", "figures are for admins")
    head = hub.accounts.audit.head()
    now: dict[str, float] = {
        "zoo_free_bytes": shutil.disk_usage(hub.workspace.root).free,
        "zoo_audit_rows": head.number,
        "zoo_audit_hash": int(head.hash[:DIGITS], 16),
    }
    with suppress(ZooError):  # a bucket that is away hides no other figure
        now |= _scrubbed(read_scrubbed(hub.workspace.store))
        xorbs, parts, _ = hub.waiting.look().values()
        now |= {"zoo_xorb_files": xorbs.files, "zoo_xorb_bytes": xorbs.bytes}
        now |= {"zoo_part_files": parts.files, "zoo_part_bytes": parts.bytes}
    return Answer(headers=TYPE, body=hub.metrics.text(now))


def _scrubbed(known: ScrubState) -> dict[str, float]:
    damaged = {name for each in (known.last, known.now) if each for name in each.damaged}
    figures: dict[str, float] = {"zoo_scrub_damaged": len(damaged)}
    if last := known.last:
        if last.ended:
            figures |= {"zoo_scrub_ended_seconds": last.ended.timestamp()}
        figures |= {"zoo_store_files": last.files, "zoo_store_bytes": last.bytes}
    return figures


def audit(ask: Ask) -> Answer:
    """Who changed what, and what was refused; oldest first, a page of it."""
    query = ask.call.query
    after, limit = (_number(query.get(name, "")) for name in ("after", "limit"))
    limit = min(limit or PAGE, PAGE)
    chosen = {name: clean(query.get(name, "")) for name in ("since", "who", "name")}
    rows = ask.hub.accounts.audit.rows(**chosen, after=after, limit=limit)
    more = ask.next_page(after=rows[-1].number) if len(rows) == limit else {}
    return Answer(headers={**JSON, **more}, body=encode([row.to_json() for row in rows]))


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 19 else 0
