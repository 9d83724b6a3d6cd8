"""Kept runs: the fine-tunes that were begun in the zoo that is served, and who may see them.

They belong to the machine that the zoo is on: admins see all of them. Whoever may read the
checkpoint that a run made may see that run, without what tells of the machine or of images.

Runs that other machines have reported are for who may read the name that they are of. What they say
that they made is not believed: anybody may have said it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from zoo.domain.digest import Digest
from zoo.domain.matrix import Matrix
from zoo.domain.task import SCORE, TASKS
from zoo.errors import Corrupt, Invalid, InvalidReference, NotAFile
from zoo.lookup.edited import before_edits
from zoo.lookup.reported import as_heard, reported_folders
from zoo.lookup.run_files import MATRIX, SIZES
from zoo.lookup.runs import NO_DATA, RUN, RUNS, Run
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.reach import sees_all
from zoo.serve.hub.seen import readable_name
from zoo.serve.keep.recent import LruCache
from zoo.serve.pages.chart import DRAWN
from zoo.store.regular import read_regular

__all__ = [
    "drawable",
    "digest_in",
    "published_digest",
    "matrix_of",
    "measure_of",
    "read_json",
    "run_of",
    "runs_that_made",
    "seen_runs",
]

KEPT = 10_000

_known: LruCache[tuple[Path, int, int], Run] = LruCache(KEPT)


def seen_runs(ask: Ask) -> list[Run]:
    """The runs that who asks may see, newest first, those that were reported among them."""
    folders = reported_folders(ask.hub.workspace.root)
    reported = [run for folder in folders if (run := _read_reported(folder))]
    seen = [run for run in reported if readable_name(ask, run.save)]
    return sorted([*_seen_here(ask), *seen], key=lambda run: run.id, reverse=True)


def _seen_here(ask: Ask) -> list[Run]:
    """Those of this zoo itself that who asks may see, newest first."""
    runs = _all_runs(ask)
    if sees_all(ask.actor):
        return runs
    results = {run.id: digest for run in runs if (digest := published_digest(run))}
    there = ask.hub.reach.there(ask, {*results.values()})
    return [run for run in runs if results.get(run.id) in there]


def run_of(ask: Ask, name: str) -> Run | None:
    """The run of an id; None if there is none, or who asks may not see it."""
    if folder := ask.hub.reported.folder(name):
        run = _read_reported(folder)
        return run if run and readable_name(ask, run.save) else None
    return next((run for run in _seen_here(ask) if run.id == name), None)


def _by_result(runs: Iterable[Run]) -> Mapping[Digest, Run]:
    """Of each checkpoint that runs made, the last that did."""
    last_runs: dict[Digest, Run] = {}
    for run in runs:
        if digest := published_digest(run):
            last_runs.setdefault(digest, run)
    return last_runs


def runs_that_made(ask: Ask, digests: Iterable[Digest]) -> Mapping[Digest, Run]:
    """Of checkpoints, the runs that made their weights, of those that who asks may see: what is
    edited has those of what it was before.
    """
    runs, runs_by_digest = _by_result(_seen_here(ask)), dict[Digest, Run]()
    for digest in digests if runs else ():
        same = (digest, *before_edits(ask.hub.workspace, digest))
        if run := next((runs[each] for each in same if each in runs), None):
            runs_by_digest[digest] = run
    return runs_by_digest


def published_digest(run: Run) -> Digest | None:
    """The checkpoint that a run made; None of one that is not done."""
    return digest_in(run.result.get("manifest"))


def digest_in(value: object) -> Digest | None:
    """The digest that a run says; None if that is none."""
    with suppress(InvalidReference):
        return Digest.parse(str(value))
    return None


def _all_runs(ask: Ask) -> list[Run]:
    home = ask.hub.workspace.root / RUNS
    folders = sorted(home.iterdir(), reverse=True) if home.is_dir() else []
    return [run for folder in folders if (run := _read(folder))]


def _read(folder: Path) -> Run | None:
    """A run, from memory if it has ended; None if there is none."""
    try:
        key = _key(folder)
        if cached_run := _known.get(key):
            return cached_run
        run = Run.read(folder)
    except (OSError, Invalid, NotAFile):
        return None
    if not _is_sound(run):
        return None
    return _known.put(key, run) if run.status == "done" else run


def _read_reported(folder: Path) -> Run | None:
    """A run that was reported, from memory if it was read before; None if there is none."""
    try:
        key = _key(folder)
        run = _known.get(key)
        if run is None:
            run = Run.kept_in(folder)
            if not _is_sound(run):
                return None
            _known.put(key, run)
        return as_heard(run)
    except (OSError, Corrupt, NotAFile, AttributeError, *NO_DATA):
        return None


def _key(folder: Path) -> tuple[Path, int, int]:
    state = (folder / RUN).stat()
    return folder, state.st_mtime_ns, state.st_size


def _is_sound(run: Run) -> bool:
    """Whether what a run says of itself is of the kinds that it should be."""
    texts = (run.base, run.parent, run.save, run.device, run.started, run.status, run.error)
    parts = run.recipe, run.result, run.provenance
    sound = all(isinstance(each, str) for each in texts)
    sound = sound and all(isinstance(each, dict) for each in parts)
    sound = sound and isinstance(run.recipe.get("phases") or [], list)
    return sound and isinstance(run.result.get("metrics", {}), dict)


def measure_of(run: Run) -> str:
    """What the score of a run is called; empty where its task is unknown."""
    return next((SCORE[task] for task in TASKS if task == run.recipe.get("task")), "")


def matrix_of(run: Run) -> Matrix | None:
    """What its test images were taken for; None of more classes than are drawn, or if it is not
    kept.
    """
    return drawable(read_json(run.folder / MATRIX, SIZES[MATRIX], Matrix))


def drawable(matrix: Matrix | None) -> Matrix | None:
    """A matrix, if it is sound and can be drawn."""
    return matrix if matrix and matrix.sound and len(matrix.classes) <= DRAWN else None


def read_json(path: Path, limit: int, kind: object) -> Any:
    """A file of a run as a value of a kind; None if it is not there, damaged, or too large."""
    try:
        return msgspec.json.decode(read_regular(path, limit), type=kind)
    except (OSError, msgspec.MsgspecError, RecursionError, Corrupt, NotAFile, UnicodeError):
        return None
