"""Pruning: what a prune would delete, before it does. It is done on the command line alone.

A plan reads all that names lead to, which takes seconds where they are many. So it is worked out
beside the page, which shows what is known by then; and by one process of all that serve the zoo,
for all of them: it lies in the store that they share.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event

import msgspec

from zoo.contracts import Backend
from zoo.errors import NotAFile, ZooError
from zoo.reflog import now
from zoo.serve.hub.ask import Ask, Hub
from zoo.serve.keep.recent import LruCache
from zoo.serve.pages.later import Later
from zoo.store import forgotten
from zoo.store.capabilities import read_small
from zoo.workspace import Workspace

__all__ = ["FileGroup", "CheckpointRow", "Pruning", "look_pruning"]

USUAL = {"keep": "90", "grace": "14", "caches": ""}
"""Days, as `zoo prune` has them; without those of caches, these are left alone."""
DAYS = re.compile(r"[0-9]{1,5}(\.[0-9]{1,6})?")
MOST_DAYS = 36_500
SHOWN = 100
"""Checkpoints that are named."""
PATIENCE = 1.0
"""Seconds that a page waits for a plan."""
SHARE = 20
"""A plan that took longer than that is good for so many times what it took."""
LONGEST = 86400.0
"""Seconds that a plan is good for at most."""
FOLDER, FILE, FILE_BYTES = "plans", "plans/prune.json", 1 << 24
MOST = 16
"""Plans that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileGroup:
    """Files that would go: of which kind, why, how many, and their bytes."""

    kind: str
    why: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRow:
    """A checkpoint that would go.

    Attributes:
        manifest: Its digest.
        names: The names that it had, the last one first.
        at: When it lost that, UTC, and ``by`` whom; whether it was ``deleted``, or moved on.
        score: What its results are judged by; empty if it has none.
        heirs: Names of what derives from it and stays.
        bytes: Of its files, of which others may need a part.
    """

    manifest: str
    names: tuple[str, ...]
    at: str
    by: str
    deleted: bool
    score: str
    heirs: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """The plan.

    Attributes:
        asked: Days, as they were asked for: what a name pointed at so lately is kept, files that
            are so young are spared, and caches that were used so lately, or all if it is empty.
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
        wrong: What is wrong with the days; empty: nothing.
    """

    asked: tuple[str, str, str]
    bytes: int = 0
    files: int = 0
    doomed: tuple[FileGroup, ...] = ()
    checkpoints: tuple[CheckpointRow, ...] = ()
    gone: int = 0
    young: int = 0
    recent: int = 0
    unread: tuple[str, ...] = ()
    problem: str = ""
    at: str = ""
    working: bool = False
    wrong: str = ""

    @property
    def http_status(self) -> int:
        """Of the answer."""
        return 400 if self.wrong else 200


class _CachedPlan(msgspec.Struct):
    """A plan that one of the processes has worked out, when, and until when it is good: seconds
    since 1970.
    """

    plan: Pruning
    done: float
    good: float


KEPT = msgspec.json.Decoder(dict[str, _CachedPlan])


@dataclass(slots=True)
class _Work:
    """A plan that is worked out: what was known ``before``, or came of it once it is done."""

    plan: Pruning
    done: Event = field(default_factory=Event)
    good: float = 0.0  # until when, by the clock of `time.time`

    def do(self, hub: Hub) -> None:
        """Work it out, or take what another process was working out meanwhile."""
        asked, store = time.time(), hub.workspace.store
        with suppress(ZooError, OSError):
            store.disk.make_folder(FOLDER)  # of which the lock is
        try:
            with hub.taking_turns(FOLDER):
                name = " ".join(self.plan.asked)
                kept = _read(store.backend).get(name)
                if kept is None or max(kept.done, kept.good) < asked:
                    kept = _worked_out(hub.workspace, self.plan.asked)
                    _keep(store.backend, name, kept)
            self.plan, self.good = kept.plan, kept.good
        except Exception:
            self.plan = replace(self.plan, problem="it has failed; the server's log tells why")
            raise
        finally:
            self.done.set()


def _read(backend: Backend) -> dict[str, _CachedPlan]:
    """The plans that were kept, by their days; none if they are not there, or damaged. What no
    process of this server can have kept is left out: a plan of other days, or of another time.
    """
    with suppress(FileNotFoundError, NotAFile, ZooError, msgspec.MsgspecError, RecursionError):
        plans = KEPT.decode(read_small(backend, FILE, FILE_BYTES))
        return {name: kept for name, kept in plans.items() if _is_fit(name, kept)}
    return {}


def _is_fit(name: str, kept: _CachedPlan) -> bool:
    now_, of = time.time(), " ".join(kept.plan.asked)
    return of == name and kept.done <= now_ and kept.good <= now_ + LONGEST


def _keep(backend: Backend, name: str, kept: _CachedPlan) -> None:
    """Have the other processes know of a plan, if there is room for it: a page shows it anyway."""
    plans = {**_read(backend), name: kept}
    newest = sorted(plans, key=lambda each: plans[each].done)[-MOST:]
    with suppress(ZooError, OSError):
        backend.put(FILE, [msgspec.json.encode({each: plans[each] for each in newest})])


def _worked_out(workspace: Workspace, asked: tuple[str, str, str]) -> _CachedPlan:
    began = time.monotonic()
    plan = _plan(workspace, asked)
    took, now_ = time.monotonic() - began, time.time()
    return _CachedPlan(plan, now_, now_ + (min(SHARE * took, LONGEST) if took > PATIENCE else 0.0))


_works: LruCache[tuple[Path, str, str, str], _Work] = LruCache(MOST)
_later = Later()


def look_pruning(ask: Ask) -> Pruning:
    """What a prune would delete, as it was worked out last; nothing is changed."""
    query = ask.call.query
    keep, grace, caches = typed = (
        query.get("keep") or USUAL["keep"],
        query.get("grace") or USUAL["grace"],
        query.get("caches", USUAL["caches"]),
    )
    wrong = [
        f"{name} is {text[:20]!a}"
        for name, text in zip(USUAL, typed, strict=True)
        if text and not _is_days(text)
    ]
    if wrong:
        message = f"{' and '.join(wrong)}: write a number of days, 0 to {MOST_DAYS:,}"
        return Pruning(asked=(keep[:20], grace[:20], caches[:20]), wrong=message)
    key, until = (ask.hub.workspace.root, *typed), time.monotonic() + PATIENCE
    work = _works.get(key)
    if work is None or (work.done.is_set() and time.time() >= work.good):
        work = _begun(ask.hub, key, work.plan if work else None)
    waited = work.done.wait(max(0.0, until - time.monotonic()))
    return replace(work.plan, working=not waited)


def _begun(hub: Hub, key: tuple[Path, str, str, str], known: Pruning | None) -> _Work:
    """The work on a plan, in the place of one that is ``known`` and good no more; what another
    process has worked out is done already.
    """
    plan = known or Pruning(asked=key[1:])
    kept = _read(hub.workspace.store.backend).get(" ".join(plan.asked))
    work = _Work(kept.plan if kept else plan)
    if kept and kept.good > time.time():
        work.good = kept.good
        work.done.set()
        return _works.put(key, work)
    if _later.begin([partial(work.do, hub)], PATIENCE):
        _works.put(key, work)
    return work


def _plan(workspace: Workspace, asked: tuple[str, str, str]) -> Pruning:
    from zoo.facade import Zoo  # it knows all of zoo, which other pages do without

    keep, grace, caches = (float(days) if days else None for days in asked)
    assert keep is not None
    assert grace is not None
    try:
        zoo = Zoo(workspace, progress=False)
        plan = zoo.plan_prune(keep_days=keep, grace_days=grace, cache_days=caches)
    except ZooError as error:
        return Pruning(asked=asked, problem=error.message, at=now())
    count, size = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for each in plan.doomed:
        count[each.kind, each.why] += 1
        size[each.kind, each.why] += each.bytes
    return Pruning(
        asked=asked,
        bytes=plan.bytes,
        files=len(plan.doomed),
        doomed=tuple(
            FileGroup(kind=kind, why=why, files=files, bytes=size[kind, why])
            for (kind, why), files in count.most_common()
        ),
        checkpoints=tuple(_forgotten(workspace, each) for each in plan.checkpoints[:SHOWN]),
        gone=len(plan.checkpoints),
        young=plan.young,
        recent=plan.recent,
        unread=plan.unread[:SHOWN],
        at=now(),
    )


def _forgotten(workspace: Workspace, one: forgotten.Forgotten) -> CheckpointRow:
    return CheckpointRow(
        manifest=str(one.manifest),
        names=tuple(map(str, one.names)),
        at=one.at,
        by=one.by,
        deleted=one.deleted,
        score=one.score,
        heirs=workspace.registry.heirs(one.manifest),
        bytes=one.bytes,
    )


def _is_days(text: str) -> bool:
    return DAYS.fullmatch(text) is not None and float(text) <= MOST_DAYS
