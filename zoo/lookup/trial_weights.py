"""Weights of trials that no run continued, which a prune deletes; what trials showed stays."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path

from zoo.domain.limits import KEPT_ADVICE
from zoo.errors import Conflict, Invalid
from zoo.lookup.alive import RunLock, alive
from zoo.lookup.runs import STATE, TRIALS, WEIGHTS, Run
from zoo.lookup.space import DAY, folders_in
from zoo.store.prune import FileToDelete, PrunePlan

__all__ = ["delete_weights", "with_weights"]

KIND = "weights of a trial"
WHY = "no run continued it"


def with_weights(root: Path, plan: PrunePlan, grace_days: float) -> PrunePlan:
    """The ``plan`` of a prune of the zoo, and the weights of its trials."""
    doomed, spared = _old(root, grace_days)
    return replace(plan, doomed=(*plan.doomed, *doomed), young=plan.young + spared)


def delete_weights(root: Path, shown: PrunePlan, done: PrunePlan, grace_days: float) -> PrunePlan:
    """Delete the weights that were ``shown`` and are still to be deleted: what is ``done``, and
    these.
    """
    listed, gone = {item.file for item in shown.doomed}, list[FileToDelete]()
    doomed = [item for item in _old(root, grace_days)[0] if item.file in listed]
    for trial, items in groupby(doomed, lambda item: item.file.split("/")[1]):
        folder = root / TRIALS / trial
        with suppress(Conflict, OSError):  # it began to run, or is another user's
            lock = RunLock(folder, _machine(folder))
            try:
                for item in items:
                    (root / item.file).unlink()
                    gone.append(item)
            finally:
                lock.release()
    return replace(done, doomed=(*done.doomed, *gone))


def _old(root: Path, grace_days: float) -> tuple[list[FileToDelete], int]:
    """What is to be deleted below ``trials``; and how many files are spared, as the trial is
    running, or younger than so many days.
    """
    doomed, spared, before = list[FileToDelete](), 0, time.time() - grace_days * DAY
    for folder in islice(folders_in(root / TRIALS), KEPT_ADVICE):
        files = list(_files(folder))
        if not files:
            continue
        if max(at for _, _, at in files) > before or alive(folder, _machine(folder)):
            spared += len(files)
            continue
        for path, size, _ in files:
            name = path.relative_to(root).as_posix()
            doomed.append(FileToDelete(KIND, name, name, size, WHY, 0))
    return doomed, spared


def _files(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """Files of weights, with their sizes and dates; no links are followed."""
    weights = folder / WEIGHTS
    inside = sorted(weights.glob("*")) if weights.is_dir() and not weights.is_symlink() else []
    for path in (folder / STATE, *inside):
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                yield path, status.st_size, status.st_mtime


def _machine(folder: Path) -> str:
    try:
        return Run.read(folder).machine
    except Invalid:
        return ""
