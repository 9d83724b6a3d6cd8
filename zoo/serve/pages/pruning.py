"""Pruning: what a prune would delete, before it does. It is done on the command line alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from zoo.errors import ZooError
from zoo.serve.hub.ask import Ask

__all__ = ["Doomed", "Forgotten", "Pruning", "look_pruning"]

KEEP_DAYS, GRACE_DAYS = 90, 14
"""As `zoo prune` has them."""
SHOWN = 100
"""Checkpoints that are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doomed:
    """Files that would go: of which kind, why, how many, and their bytes."""

    kind: str
    why: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """A checkpoint that would go, by its digest and the names that it had."""

    manifest: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """The plan.

    Attributes:
        keep_days: What a name pointed at so lately is kept.
        grace_days: Files that are so young are spared.
        bytes: Bytes that would be free.
        files: Files that would go.
        doomed: They, by kind.
        checkpoints: Some of the checkpoints among them.
        gone: How many there are.
        young: Files that are spared for their age.
        recent: Checkpoints that are kept as a name pointed at them lately.
        unread: What cannot be read, and why; all that it may need is kept.
        problem: Why there is no plan; empty if there is one.
    """

    keep_days: int
    grace_days: int
    bytes: int = 0
    files: int = 0
    doomed: tuple[Doomed, ...] = ()
    checkpoints: tuple[Forgotten, ...] = ()
    gone: int = 0
    young: int = 0
    recent: int = 0
    unread: tuple[str, ...] = ()
    problem: str = ""


def look_pruning(ask: Ask) -> Pruning:
    """What a prune would delete now; nothing is changed."""
    from zoo.facade import Zoo  # it knows all of zoo, which other pages do without

    keep, grace = (_days(ask, *each) for each in (("keep", KEEP_DAYS), ("grace", GRACE_DAYS)))
    try:
        zoo = Zoo(ask.hub.workspace, progress=False)
        plan = zoo.plan_prune(keep_days=keep, grace_days=grace)
    except ZooError as error:
        return Pruning(keep_days=keep, grace_days=grace, problem=error.message)
    count, size = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for each in plan.doomed:
        count[each.kind, each.why] += 1
        size[each.kind, each.why] += each.bytes
    return Pruning(
        keep_days=keep,
        grace_days=grace,
        bytes=plan.bytes,
        files=len(plan.doomed),
        doomed=tuple(
            Doomed(kind=kind, why=why, files=files, bytes=size[kind, why])
            for (kind, why), files in count.most_common()
        ),
        checkpoints=tuple(
            Forgotten(manifest=str(each.manifest), names=tuple(map(str, each.names)))
            for each in plan.checkpoints[:SHOWN]
        ),
        gone=len(plan.checkpoints),
        young=plan.young,
        recent=plan.recent,
        unread=plan.unread[:SHOWN],
    )


def _days(ask: Ask, name: str, usual: int) -> int:
    text = ask.call.query.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 6 else usual
