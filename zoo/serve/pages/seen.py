"""Seen: of which names pages may tell somebody, said once for all names."""

from __future__ import annotations

from zoo.registry import Seen
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.reach import sees_all

__all__ = ["seen_by"]


def seen_by(ask: Ask) -> Seen | None:
    """What who asks may be told of; None: of all. What sources list is for who has an account: the
    sources may be a team's own. What only remotes have, others have said who may read.
    """
    if sees_all(ask.actor):
        return None
    said = {given.path for given in ask.rules.given()} | {ask.actor.name} | ask.actor.only
    told = {path: ask.may("read", path if "/" in path else f"{path}/") for path in said if path}
    return Seen(
        names=ask.may("read", "/"),  # a name of which nothing was said
        shown=frozenset(path for path, shown in told.items() if shown),
        hidden=frozenset(path for path, shown in told.items() if not shown),
        catalog=bool(ask.actor.name),
    )
