"""Removing runs: their folders, after a plan was shown.

A run that trains is never removed. Others that somebody may still need go only on a word of their
own: what can be resumed, and what made a checkpoint that is still here, or that one here derives
from. A checkpoint has its weights, card and figures itself; what its run alone has is in `NEEDED`.
"""

from __future__ import annotations

import math
import re
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from heapq import nlargest
from pathlib import Path

from zoo.domain.digest import Digest
from zoo.domain.plain import Json
from zoo.domain.result import Result
from zoo.domain.run_state import STATES, State
from zoo.errors import (
    Conflict,
    Invalid,
    InvalidOption,
    InvalidReference,
    NotAFile,
    UnknownName,
    ZooError,
)
from zoo.lookup.alive import SILENT, RunLock, taken
from zoo.lookup.examples import EXAMPLES
from zoo.lookup.reported import find_any
from zoo.lookup.run_files import MATRIX
from zoo.lookup.runs import IMAGES, METRICS, PREDICTIONS, REPORT, RUN, RUNS, Run
from zoo.lookup.space import DAY, folders_in, space_of
from zoo.store.rights import forbidden
from zoo.workspace import Workspace

__all__ = [
    "NEEDED",
    "OldRun",
    "Removal",
    "largest_runs",
    "plan_removal",
    "remove_runs",
]

ID = re.compile(r"\d{8}-\d{6}-\d{6}")
"""What a run's folder is called. Whatever else lies there is somebody's, and stays."""
REMOVED = ".removed-"
"""What its name begins with, once it is being deleted."""
NEEDED = {
    EXAMPLES: "example images",
    METRICS: "learning curves",
    MATRIX: "the confusion matrix on its page",
    REPORT: "figures of each class on its page",
    PREDICTIONS: "whether it differs from another on the same test images (zoo compare)",
    IMAGES: "which images it has seen, which a later test would tell",
    RUN: "zoo rerun without --data",
}
"""Files of a run that a checkpoint relies on, and what is lost with each."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class OldRun(Result):
    """A run that may go.

    Attributes:
        id: Its id.
        state: One of `zoo.domain.run_state.STATES`, or ``running``.
        save: The name for its result.
        author: Who began it.
        at: When something was written in its folder last, UTC, ISO 8601.
        bytes: What it takes.
        kept: What it could be resumed from; empty: nothing.
        lost: What its checkpoint, which is here, would lose.
    """

    id: str
    state: str
    save: str
    author: str
    at: str
    bytes: int
    kept: str = ""
    lost: tuple[str, ...] = ()

    def why(self, *, resumable: bool, results: bool) -> str:
        """Why it is left alone, and what removes it all the same; empty: it is not."""
        if self.state == "running":
            return "running"
        if self.kept and not resumable:
            return "can be resumed (--resumable removes such, too)"
        if self.lost and not results:
            return "needed by a checkpoint here (--results removes such, too; the checkpoint stays)"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Removal(Result):
    """Runs that are removed.

    Attributes:
        runs: Which, the largest first.
        spared: Those that are left alone as they run, can be resumed, or have a checkpoint here.
        resumable: Whether those go that could be resumed.
        results: Whether those go whose checkpoint is here.
    """

    runs: tuple[OldRun, ...]
    spared: tuple[OldRun, ...] = ()
    resumable: bool = False
    results: bool = False

    @property
    def bytes(self) -> int:
        """Bytes that are freed."""
        return sum(run.bytes for run in self.runs)

    def to_json(self) -> Json:
        """Plain data for JSON."""
        words = {"resumable": self.resumable, "results": self.results}
        spared = [{**run.to_json(), "why": run.why(**words)} for run in self.spared]
        return {"bytes": self.bytes, "runs": [r.to_json() for r in self.runs], "spared": spared}


def plan_removal(
    workspace: Workspace,
    names: Sequence[str] = (),
    *,
    older_days: float | None = None,
    states: Collection[State] = (),
    resumable: bool = False,
    results: bool = False,
) -> Removal:
    """What would be removed; nothing is changed. Without ``names`` that is of all runs.

    Raises:
        UnknownName, InvalidOption: No such run, or several; or nothing says which.
        Conflict: One that is named is running, or needed, and no word says that it goes; or it does
            not fit.
    """
    if not names and older_days is None and not states:
        raise InvalidOption("which runs? name them, or say how old they are, or in which state")
    if wrong := {*states} - {*STATES}:
        raise InvalidOption(f"{sorted(wrong)[0]!a} is no state: {', '.join(STATES)}")
    home, words = workspace.root / RUNS, {"resumable": resumable, "results": results}
    folders = [_folder(workspace, name) for name in names] or [*_folders(home)]
    # A shared disk has a clock of its own: without an age, what seems to be of tomorrow goes, too.
    before = math.inf if older_days is None else time.time() - older_days * DAY
    every = [_old(workspace, folder) for folder in dict.fromkeys(folders)]
    fitting = [
        r
        for r in every
        if (not states or r.state in states) and datetime.fromisoformat(r.at).timestamp() <= before
    ]
    if names and (other := [run for run in every if run not in fitting]):
        is_ = f"the run {other[0].id} is {other[0].state}, and was written in last on {other[0].at}"
        raise Conflict(f"{is_}: that does not fit")
    runs = sorted(fitting, key=lambda run: -run.bytes)
    spared = tuple(run for run in runs if run.why(**words))
    if names and spared:
        raise _refused(home, spared[0], spared[0].why(**words))
    return Removal(runs=tuple(r for r in runs if r not in spared), spared=spared, **words)


def remove_runs(workspace: Workspace, shown: Removal) -> Removal:
    """Remove what was ``shown``, but for what runs by now, or is needed; what was removed.

    Raises:
        Forbidden: The folder of one is another user's.
    """
    for left in folders_in(workspace.root / RUNS):
        if left.name.startswith(REMOVED):  # by one that was killed
            shutil.rmtree(left, ignore_errors=True)
    gone = [run for run in shown.runs if _remove(workspace, run, shown)]
    return replace(shown, runs=tuple(gone))


def largest_runs(workspace: Workspace, most: int) -> list[OldRun]:
    """The runs that take the most, the largest first."""
    folders = _folders(workspace.root / RUNS)
    largest = nlargest(most, ((space_of(folder).bytes, folder) for folder in folders))
    return [_old(workspace, folder) for _, folder in largest]


def _remove(workspace: Workspace, run: OldRun, shown: Removal) -> bool:
    folder = workspace.root / RUNS / run.id
    if folder.is_symlink():
        return False
    with _errors(workspace, run), ExitStack() as held:
        with suppress(NotAFile):  # nobody has a lock that is none
            try:
                held.callback(RunLock(folder, _machine(folder)).release)
            except (Conflict, FileNotFoundError):  # it was resumed, or is gone
                return False
        now = _old(workspace, folder, locked=True)
        if now.state != run.state or now.why(resumable=shown.resumable, results=shown.results):
            return False
        # At once, or not at all: whoever may not, or is killed, leaves no half of a run.
        gone = folder.rename(folder.with_name(f"{REMOVED}{run.id}"))
        shutil.rmtree(gone)
    return True


@contextmanager
def _errors(workspace: Workspace, run: OldRun) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise forbidden(workspace.root, f"{RUNS}/{run.id}", error) from error


def _folders(home: Path) -> Iterator[Path]:
    return (folder for folder in folders_in(home) if ID.fullmatch(folder.name))


def _folder(workspace: Workspace, name: str) -> Path:
    folder = _folder_of(workspace, name)
    if folder.is_symlink() or not ID.fullmatch(folder.name):
        raise NotAFile(str(folder), "the folder of a run", "a link, or somebody's own")
    return folder


def _folder_of(workspace: Workspace, name: str) -> Path:
    try:
        run = find_any(workspace, name)
    except UnknownName:
        # One that cannot be read has no more than its id.
        if ID.fullmatch(name) and (folder := workspace.root / RUNS / name).is_dir():
            return folder
        raise
    if run.reporter:
        raise InvalidOption(
            f"{run.id} is a report of {run.reporter}, whose run is elsewhere: its page deletes it"
        )
    return run.folder


def _old(workspace: Workspace, folder: Path, *, locked: bool = False) -> OldRun:
    """What is known of the run in a folder; of one that this process has ``locked``, it does not
    run.
    """
    space = space_of(folder)
    at = datetime.fromtimestamp(space.at, UTC).isoformat(timespec="seconds")
    known = OldRun(id=folder.name, state="damaged", save="", author="", at=at, bytes=space.bytes)
    try:
        run = Run.kept_in(folder) if locked else Run.read(folder)
        if locked and run.status == "running":
            run = replace(run, status="interrupted")
        if run.status not in {*STATES, "running"} or not isinstance(run.save, str):
            raise ValueError(run.status)
        return replace(
            known,
            state=run.status,
            save=run.save,
            author=run.author,
            kept=run.kept,
            lost=_lost(workspace, run),
        )
    except (OSError, ValueError, TypeError, RecursionError, AttributeError, ZooError):
        # It may be so new that it is not written yet.
        new = space.at > time.time() - SILENT
        return replace(known, state="running") if not locked and new else known


def _lost(workspace: Workspace, run: Run) -> tuple[str, ...]:
    """What the checkpoint of a run would lose with it; nothing if neither it nor what derives from
    it is here.
    """
    try:
        digest = Digest.parse(str(run.result.get("manifest")))
    except InvalidReference:
        return ()
    published: set[str] = set()
    try:
        published = {file.name for file in workspace.store.manifest(digest).files}
    except ZooError:
        if not workspace.registry.children(digest):
            return ()
    return tuple(
        text
        for name, text in NEEDED.items()
        if name not in published and (run.folder / name).is_file()
    )


def _refused(home: Path, run: OldRun, why: str) -> Conflict:
    if run.state == "running":
        return taken(home / run.id)
    lost = f"{run.save} would lose: {'; '.join(run.lost)}"
    hint = f"{run.kept}: zoo finetune --resume {run.id}" if run.kept else lost
    return Conflict(f"the run {run.id} is left alone: {why}", hint=hint)


def _machine(folder: Path) -> str:
    with suppress(Invalid):
        return Run.read(folder).machine
    return ""
