"""Forgotten: the checkpoints that a prune deletes, by the names that they had."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.domain.snapshot import Snapshot
from zoo.domain.task import SCORE, TASKS, Task, with_intervals
from zoo.store.listing import map_each, read_one
from zoo.store.manifests import read_document
from zoo.store.store import Store

__all__ = ["Forgotten", "forgotten"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Forgotten(Result):
    """A checkpoint that no name points at.

    Attributes:
        manifest: It.
        names: Those that pointed at it, the last one first; none if its name was never made.
        at: When the last one was deleted, or moved on, UTC, ISO 8601.
        by: Who did that.
        deleted: Whether it was deleted.
        bytes: Size of its files, of which others may need a part; 0 if it cannot be read.
        task: What it was trained for; empty if that is unknown.
        metrics: Its results.
    """

    manifest: Digest
    names: tuple[Reference, ...] = ()
    at: str = ""
    by: str = ""
    deleted: bool = False
    bytes: int = 0
    task: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def score(self) -> str:
        """What its results are judged by, with its interval; empty if it has none."""
        task: Task = next((task for task in TASKS if task == self.task), "classification")
        shown = with_intervals(self.metrics).get(SCORE[task])
        return f"{SCORE[task].replace('_', ' ')} {shown}" if shown else ""


def forgotten(store: Store, digests: Collection[Digest]) -> tuple[Forgotten, ...]:
    """These checkpoints, those that were in use last first."""
    if not digests:
        return ()
    refs, _ = store.readable_refs()
    left: dict[Digest, list[tuple[RefEntry, Reference]]] = {digest: [] for digest in digests}
    histories = map_each(store, partial(read_one, store.history), refs)
    for ref, entries in zip(refs, histories, strict=True):
        for digest, entry in _left(entries if isinstance(entries, tuple | list) else ()):
            if digest in left:
                left[digest].append((entry, ref))
    read = map_each(store, partial(read_one, partial(read_document, store)), left)
    checkpoints = [
        _described(*of, manifest) for of, manifest in zip(left.items(), read, strict=True)
    ]
    return tuple(sorted(checkpoints, key=lambda each: each.at, reverse=True))


def _left(entries: Iterable[RefEntry]) -> Iterator[tuple[Digest, RefEntry]]:
    """What a name pointed at and does not any more, and the last entry that took it away."""
    before: RefEntry | None = None
    last: dict[Digest, RefEntry] = {}
    for entry in entries:
        if before and (entry.deleted or entry.manifest != before.manifest):
            last[before.manifest] = entry
        before = entry
    yield from last.items()


def _described(
    digest: Digest, entries: list[tuple[RefEntry, Reference]], manifest: object
) -> Forgotten:
    entries = sorted(entries, key=lambda each: each[0].at, reverse=True)
    last = entries[0][0] if entries else None
    known = manifest if isinstance(manifest, Manifest) else None
    recipe = (known.recipe if known else None) or {}
    return Forgotten(
        manifest=digest,
        names=tuple(dict.fromkeys(ref for _, ref in entries)),
        at=last.at if last else "",
        by=last.by if last else "",
        deleted=bool(last and last.deleted),
        bytes=manifest.logical_bytes if isinstance(manifest, Manifest | Snapshot) else 0,
        task=str(recipe.get("task", "")),
        metrics=known.metrics if known else {},
    )
