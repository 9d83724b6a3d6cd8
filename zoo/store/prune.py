"""Prune: delete what nothing reaches, after showing a plan. The only thing that deletes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress, silent
from zoo.errors import Corrupt, InvalidReference, MissingObject, Unsupported
from zoo.store.encoded import encoded_header
from zoo.store.store import WORDS, Store
from zoo.store.uploads import pruning

__all__ = ["Doomed", "Plan", "execute", "plan"]

ORDER: tuple[Kind, ...] = ("manifests", "encoded", "objects")
"""Names first, what they named last: whoever is interrupted leaves no manifest without objects.
Among the encoded, deltas go before what stands alone, as that may be their base."""

File = tuple[Path, os.stat_result]


@dataclass(frozen=True, slots=True)
class Doomed:
    """One file that is to be deleted.

    Attributes:
        kind: ``manifest``, ``object``, ``encoded object`` or ``leftover``.
        name: The digest; of a leftover, the file's path in the store.
        path: The file.
        bytes: Its size.
        why: Why nothing needs it.
    """

    kind: str
    name: str
    path: Path
    bytes: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a prune deletes, in order.

    Attributes:
        doomed: The files to delete.
        young: Number of files that nothing reaches either, but that are spared for their age.
    """

    doomed: tuple[Doomed, ...]
    young: int

    @property
    def bytes(self) -> int:
        """Bytes that are freed."""
        return sum(item.bytes for item in self.doomed)


def plan(store: Store, *, keep: timedelta, grace: timedelta) -> Plan:
    """What a prune would delete. Nothing is changed.

    Reached, and kept, is: what a name points at; what it pointed at less than ``keep`` ago, before
    it moved or was deleted; every object that these need, and every base that an encoded one is
    coded against. What nothing reaches is spared while its file is younger than ``grace``, and so
    is all that it needs: its upload may be going on, or be taken up again.

    Raises:
        Corrupt, InvalidManifest, MissingObject: Something that is reached is damaged. What it
            needs cannot be known, so nothing may be deleted: verify first.
    """
    try:
        return _plan(store, keep, grace)
    except MissingObject:
        # Another prune may have deleted it just after its name was read. If not, this says so.
        return _plan(store, keep, grace)


def _plan(store: Store, keep: timedelta, grace: timedelta) -> Plan:
    before = time.time() - grace.total_seconds()
    files = {kind: dict(_files(store, kind)) for kind in ORDER}
    files["encoded"] = dict(sorted(files["encoded"].items(), key=partial(_stands_alone, store)))
    young = {
        kind: {digest for digest, (_, stat) in held.items() if stat.st_mtime > before}
        for kind, held in files.items()
    }
    reached = _reached(store, datetime.now(UTC) - keep)
    needed = {"manifests": reached} | dict.fromkeys(("encoded", "objects"), _needs(store, reached))
    # An upload may rely on old objects and bases that nothing else needs.
    relied = _needs(store, young["manifests"]) | _bases(store, young["encoded"])
    doomed, spared = [], 0
    for kind in ORDER:
        for digest, (path, stat) in files[kind].items():
            if digest in needed[kind]:
                continue
            if digest in young[kind] or (kind != "manifests" and digest in relied):
                spared += 1
                continue
            why = "no name leads to it" if kind == "manifests" else "no checkpoint needs it"
            doomed.append(Doomed(WORDS[kind], str(digest), path, stat.st_size, why))
    return Plan(doomed=(*doomed, *_leftovers(store, before)), young=spared)


def execute(
    store: Store, shown: Plan, *, keep: timedelta, grace: timedelta, progress: Progress = silent
) -> Plan:
    """Delete what ``shown`` lists and is still to be deleted; what was deleted.

    Raises:
        Conflict: Somebody is writing to the store, or pruning it; nothing was deleted.
    """
    with pruning(store.staging):
        # Planned again: a name may have moved, or come back, since the plan was shown.
        again = {item.path for item in plan(store, keep=keep, grace=grace).doomed}
        doomed = tuple(item for item in shown.doomed if item.path in again)
        with progress("deleting", len(doomed)) as task:
            for item in doomed:
                if item.kind == "manifest":
                    store.remember_pruned(Digest.parse(item.name))
                item.path.unlink(missing_ok=True)
                task.advance()
        _tidy(store, time.time() - grace.total_seconds())
    return Plan(doomed=doomed, young=shown.young)


def _reached(store: Store, since: datetime) -> set[Digest]:
    """The manifests that names lead to, or led to at ``since`` or later."""
    reached: set[Digest] = set()
    for ref in store.refs():
        moves = store.history(ref)
        # What a move named was in use until the next one, and at least until a deletion.
        for move, following in zip(moves, [*moves[1:], None], strict=True):
            ended = move if move.deleted else following
            recent = ended and (ended.when is None or ended.when >= since)
            lately = recent and not store.was_pruned(move.manifest)
            if ended is None or lately:
                reached.add(move.manifest)
    return reached


def _files(store: Store, kind: Kind) -> Iterator[tuple[Digest, File]]:
    for path in sorted((store.root / kind).glob("??/*")):
        try:
            digest, stat = Digest("blake3", path.stem), path.stat()
        except (InvalidReference, FileNotFoundError):
            continue  # not ours: verify reports it; or another prune has deleted it meanwhile
        if store.path(kind, digest) == path:
            yield digest, (path, stat)


def _needs(store: Store, manifests: Iterable[Digest]) -> set[Digest]:
    """All objects of these checkpoints, and the bases that those are coded against."""
    objects = {item for digest in manifests for item, _ in store.manifest(digest).objects()}
    return objects | _bases(store, objects)


def _bases(store: Store, objects: Iterable[Digest]) -> set[Digest]:
    found: set[Digest] = set()
    for digest in objects:
        with suppress(MissingObject):  # it is not held encoded
            if base := encoded_header(store, digest).base:
                found.add(base)
    return found


def _stands_alone(store: Store, file: tuple[Digest, File]) -> bool:
    try:
        return encoded_header(store, file[0]).base is None
    except (Corrupt, Unsupported, MissingObject):
        return False  # nothing can be decoded against it


def _leftovers(store: Store, before: float) -> Iterator[Doomed]:
    for path in sorted(store.staging.rglob("*")):
        try:
            stat = path.lstat()
        except FileNotFoundError:
            continue  # its writer has finished meanwhile
        if not path.is_dir() and stat.st_mtime < before:
            name = path.relative_to(store.root).as_posix()
            yield Doomed("leftover", name, path, stat.st_size, "an unfinished write left it")


def _tidy(store: Store, before: float) -> None:
    """Remove the empty scratch folders of killed processes."""
    for folder in sorted(store.staging.rglob("*/"), reverse=True):
        if folder != store.staging / "uploads" and folder.stat().st_mtime < before:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
