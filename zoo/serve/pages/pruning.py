"""Pruning: what a prune would delete, before it does. It is done on the command line alone.

A plan reads all that names lead to, which takes seconds where they are many. So it is worked out
beside the page, which shows what is known by then.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event

from zoo.errors import ZooError
from zoo.reflog import now
from zoo.serve.hub.ask import Ask
from zoo.serve.keep.recent import Recent
from zoo.serve.pages.later import Later
from zoo.workspace import Workspace

__all__ = ["Doomed", "Forgotten", "Pruning", "look_pruning"]

KEEP_DAYS, GRACE_DAYS = 90, 14
"""As `zoo prune` has them."""
USUAL = {"keep": KEEP_DAYS, "grace": GRACE_DAYS}
MOST_DAYS = 36_500
SHOWN = 100
"""Checkpoints that are named."""
PATIENCE = 1.0
"""Seconds that a page waits for a plan."""
SHARE = 20
"""A plan that took longer than that is good for so many times what it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doomed:
    """Files that would go: of which kind, why, how many, and their bytes."""

    kind: str
    why: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """A checkpoint that would go, by its digest and the names that it had; bytes of its files, of
    which others may need a part.
    """

    manifest: str
    names: tuple[str, ...]
    bytes: int


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
        at: When it was worked out, UTC; empty of none.
        working: Whether one is being worked out now.
        wrong: What is wrong with the days that were asked for; empty: nothing.
        typed: They, as they were typed, if anything is.
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
    at: str = ""
    working: bool = False
    wrong: str = ""
    typed: tuple[str, ...] = ()

    @property
    def http_status(self) -> int:
        """Of the answer."""
        return 400 if self.wrong else 200


@dataclass(slots=True)
class _Work:
    """A plan that is worked out: what was known ``before``, or came of it once it is done."""

    plan: Pruning
    done: Event = field(default_factory=Event)
    good: float = 0.0  # until when, by the clock of `time.monotonic`

    def do(self, workspace: Workspace) -> None:
        """Work it out."""
        began = time.monotonic()
        try:
            self.plan = _plan(workspace, self.plan.keep_days, self.plan.grace_days)
        except Exception:
            self.plan = replace(self.plan, problem="it has failed; the server's log tells why")
            raise
        finally:
            took = time.monotonic() - began
            self.good = time.monotonic() + (SHARE * took if took > PATIENCE else 0.0)
            self.done.set()


_works: Recent[tuple[Path, int, int], _Work] = Recent(16)
_later = Later()


def look_pruning(ask: Ask) -> Pruning:
    """What a prune would delete, as it was worked out last; nothing is changed."""
    asked = {name: ask.call.query.get(name, "") or str(days) for name, days in USUAL.items()}
    if wrong := [f"{name} is {text[:20]!a}" for name, text in asked.items() if not _is_days(text)]:
        said = f"{' and '.join(wrong)}: write a whole number of days, 0 to {MOST_DAYS:,}"
        typed = tuple(text[:20] for text in asked.values())
        return Pruning(keep_days=KEEP_DAYS, grace_days=GRACE_DAYS, wrong=said, typed=typed)
    keep, grace = map(int, asked.values())
    key, workspace = (ask.hub.workspace.root, keep, grace), ask.hub.workspace
    work, until = _works.get(key), time.monotonic() + PATIENCE
    if work is None or (work.done.is_set() and time.monotonic() >= work.good):
        known = work.plan if work else Pruning(keep_days=keep, grace_days=grace)
        work = _Work(known)
        if _later.begin([partial(work.do, workspace)], PATIENCE):
            _works.put(key, work)
    waited = work.done.wait(max(0.0, until - time.monotonic()))
    return replace(work.plan, working=not waited)


def _plan(workspace: Workspace, keep: int, grace: int) -> Pruning:
    from zoo.facade import Zoo  # it knows all of zoo, which other pages do without

    try:
        zoo = Zoo(workspace, progress=False)
        plan = zoo.plan_prune(keep_days=keep, grace_days=grace)
    except ZooError as error:
        return Pruning(keep_days=keep, grace_days=grace, problem=error.message, at=now())
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
            Forgotten(
                manifest=str(each.manifest), names=tuple(map(str, each.names)), bytes=each.bytes
            )
            for each in plan.checkpoints[:SHOWN]
        ),
        gone=len(plan.checkpoints),
        young=plan.young,
        recent=plan.recent,
        unread=plan.unread[:SHOWN],
        at=now(),
    )


def _is_days(text: str) -> bool:
    return re.fullmatch("[0-9]{1,5}", text) is not None and int(text) <= MOST_DAYS
