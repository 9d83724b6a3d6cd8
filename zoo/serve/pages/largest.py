"""Largest: the runs, caches and checkpoints that take the most space, and how each is freed."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from shlex import join
from typing import Literal

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.domain.words import some
from zoo.lookup.caches import list_caches, what_of
from zoo.lookup.remove_runs import OldRun, largest_runs
from zoo.lookup.space import DAY
from zoo.workspace import Workspace

__all__ = ["LARGEST", "Large", "largest"]

LARGEST = 20
"""So many are named."""
NAMES = 4
"""So many names of a checkpoint are links."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Large:
    """Something that takes space.

    Attributes:
        kind: What it is.
        name: The id of a run; what a cache is of; the names of a checkpoint.
        of: The name that a run is saved as.
        names: Those of a checkpoint, some of them, and how many ``more`` there are.
        bytes: What it takes; of a checkpoint, what no other one has.
        at: When it was written last, used last, or got its name; UTC, ISO 8601.
        state: Of a run.
        note: What is lost with it, or what is to be known of it.
        command: What frees it; empty: nothing does now.
    """

    kind: Literal["run", "cache", "checkpoint"]
    name: str
    of: str = ""
    names: tuple[str, ...] = ()
    more: int = 0
    bytes: int
    at: str
    state: str = ""
    note: str = ""
    command: str


def largest(
    workspace: Workspace,
    names: Mapping[Reference, RefEntry | None],
    own: Sequence[tuple[Digest, int]],
) -> tuple[Large, ...]:
    """What takes the most, the largest first. ``names`` are where they are, ``own`` is what
    checkpoints take alone.
    """
    runs = map(_run, largest_runs(workspace, LARGEST))
    items = [*runs, *_caches(workspace), *_checkpoints(names, own)]
    return tuple(sorted(items, key=lambda each: -each.bytes)[:LARGEST])


def _run(run: OldRun) -> Large:
    running = run.state == "running"
    words = [*(["--resumable"] if run.kept else []), *(["--results"] if run.lost else [])]
    lost = f"{run.save}, which stays, loses: {'; '.join(run.lost)}" if run.lost else ""
    return Large(
        kind="run",
        name=run.id,
        of=run.save,
        bytes=run.bytes,
        at=run.at,
        state=run.state,
        note=f"it can be resumed: {run.kept}" if run.kept else lost,
        command="" if running else join(["zoo", "runs", "rm", run.id, *words]),
    )


def _caches(workspace: Workspace) -> Iterator[Large]:
    for cache in list_caches(workspace.root):
        days = max(0, int((time.time() - cache.space.at) // DAY))
        others = "those that were not used for longer" if days else "all others"
        note = f"training computes it again; frees {others}, too"
        yield Large(
            kind="cache",
            name=what_of(workspace.root, cache) or cache.file,
            bytes=cache.space.bytes,
            at=datetime.fromtimestamp(cache.space.at, UTC).isoformat(timespec="seconds"),
            note="a run writes or reads it" if cache.taken else note,
            command="" if cache.taken else f"zoo prune --caches {days}",
        )


def _checkpoints(
    names: Mapping[Reference, RefEntry | None], own: Sequence[tuple[Digest, int]]
) -> Iterator[Large]:
    all_led = defaultdict[Digest, dict[str, RefEntry]](dict)
    for ref, entry in names.items():
        if entry:
            all_led[entry.manifest][str(ref)] = entry
    for digest, size in own:
        led = all_led[digest]
        kept = [name for name, entry in led.items() if entry.protected]
        yield Large(
            kind="checkpoint",
            name=some([*led]),
            names=tuple(led)[:NAMES],
            more=max(0, len(led) - NAMES),
            bytes=size,
            at=max(entry.at for entry in led.values()),
            note=f"protected: first {join(['zoo', 'protect', '--off', kept[0]])}" if kept else "",
            command=join(["zoo", "delete", *led]),
        )
