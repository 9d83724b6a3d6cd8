"""Runs: executions of recipes, each with a folder of its own below ``runs``.

runs/20261124-211503-481516/
  run.json        base, recipe, where it is saved, how it ended
  metrics.jsonl   one line for each step that was noted, epoch and result
  images.txt      which images it is trained on or chosen by: the first 16 digits of BLAKE3 of each
  state.pt        what an interrupted run resumes from; deleted when it is done
  lock            held, and touched now and then, by the process that runs it
  report.json     what its test images show, class by class
  trace.json.gz   some steps as torch's profiler saw them, and profile.json: what took their time;
                  of several phases trace-1.json.gz and so on
  predictions.csv, doubtful.csv, confusion.csv, confusion.json, depth.json; pictures
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

from zoo import config
from zoo.domain.limits import METRICS_BYTES, NOTE_LETTERS, RUN_BYTES
from zoo.domain.plain import Json
from zoo.domain.result import Result
from zoo.domain.task import SCORE, TASKS
from zoo.errors import Corrupt, Invalid, InvalidOption, UnknownName
from zoo.lookup.alive import alive
from zoo.store.atomic import write_whole
from zoo.store.regular import read_regular
from zoo.store.rights import for_all_of
from zoo.workspace import Workspace

__all__ = [
    "CACHE",
    "CANDIDATES",
    "CHECKED",
    "ACTIVATIONS",
    "DIGITS",
    "IMAGES",
    "METRICS",
    "NO_DATA",
    "PREDICTIONS",
    "REPORT",
    "RUN",
    "RUNS",
    "STATE",
    "TRIALS",
    "WEIGHTS",
    "Run",
    "caches",
    "find_run",
    "list_runs",
    "own_runs",
    "writable",
]

CACHE = "cache"
"""The folder of what runs can compute again."""
ACTIVATIONS = "crossings"
"""In it: cached activations, which take most of the space. Stored names stay."""
CHECKED = "images"
"""In it: which images were found to be in order, and copies of those that lie in Parquet files."""
RUNS = "runs"
TRIALS = "trials"
"""The folder of recipes that were tried, each kept as a run is."""
RUN = "run.json"
METRICS = "metrics.jsonl"
IMAGES = "images.txt"
DIGITS = 16
"""Of each image's digest: no two of any number of images share so many by chance."""
REPORT = "report.json"
PREDICTIONS = "predictions.csv"
STATE = "state.pt"
WEIGHTS = "weights"
"""The folder of what blends are made of, until a run is done."""
CANDIDATES = ("probe", "epoch", "blend")
"""Lines that tell how weights, which may be saved, do on the validation images."""


NO_DATA = (ValueError, TypeError, RecursionError)
"""What reading JSON as an object raises where it is none."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Run(Result):
    """One execution of a recipe.

    Attributes:
        folder: Where all of it lies; its name is the run's id.
        base: The reference or digest that was given.
        parent: The manifest that it stood for.
        save: The name for the result.
        recipe: The options, as JSON, with nothing left to decide.
        asked: The options as they were given, with absolute paths; of old versions nothing.
        device: What it computes on.
        log: Names of trackers that were asked for.
        started: UTC, ISO 8601.
        host: Name of the machine that runs it.
        pid: Process that runs it.
        machine: The same machine whatever it is called: see `zoo.lookup.alive.machine`.
        status: ``running``, ``done``, ``interrupted``, ``failed`` or ``silent``.
        error: Why it failed.
        provenance: What the result depends on beside the recipe (see `zoo.finetune.results`).
        result: ``manifest`` and ``metrics`` when done.
        told_to: The server that it is reported to.
        reporter: Of one that was reported to this zoo's server, the account that did: nothing of
            it is proven.
        reported: Since when, UTC.
        heard: When its machine was last heard of, UTC, of one that is to be running. If that is two
            minutes ago, it is ``silent``.
    """

    _COLUMNS: ClassVar = ("id", "status", "metrics", "save", "base", "started")

    folder: Path
    base: str
    parent: str
    save: str
    recipe: Mapping[str, Any]
    device: str
    started: str
    log: Sequence[str] = ()
    host: str = ""
    pid: int = 0
    machine: str = ""
    status: str = "running"
    error: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)
    told_to: str = ""
    reporter: str = ""
    reported: str = ""
    heard: str = ""

    @property
    def id(self) -> str:
        """What ``--resume`` takes."""
        return self.folder.name

    @property
    def author(self) -> str:
        """Who began it; older versions did not note it."""
        return self.provenance.get("author", "")

    @property
    def metrics(self) -> Mapping[str, float]:
        """The result; nothing of a run that is not done."""
        metrics: Mapping[str, float] = self.result.get("metrics", {})
        return metrics

    @property
    def resumable(self) -> bool:
        """Whether it was cut off and left something to resume from."""
        return self.status in ("interrupted", "failed") and (self.folder / STATE).is_file()

    @property
    def kept(self) -> str:
        """What it resumes from: ``kept up to epoch 1 of 12``; empty: there is nothing."""
        if not self.resumable:
            return ""
        saved = [line.get("up_to") for line in self.lines() if line.get("kind") == "saved"]
        # Runs of older versions did not say.
        return f"kept up to {saved[-1]}" if saved and saved[-1] else "what is done is kept"

    def write(self) -> Self:
        """Keep it as ``run.json``."""
        data = {name: value for name, value in asdict(self).items() if name != "folder"}
        write_whole(self.folder / RUN, [json.dumps(data, indent=2).encode(), b"\n"])
        return self

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read ``run.json``; a run that no process runs any more was interrupted.

        Raises:
            Invalid: It is missing or damaged.
        """
        try:
            run = cls.kept_in(folder)
            if run.status == "running" and not alive(folder, run.machine):
                run = cls.kept_in(folder)  # it may have been ended between the two looks
                if run.status == "running":
                    return cls(**{**_fields(run), "status": "interrupted"})
        except (OSError, AttributeError, Corrupt, *NO_DATA) as error:
            raise Invalid(f"{folder / RUN} cannot be read: {error}") from error
        return run

    @classmethod
    def kept_in(cls, folder: Path) -> Self:
        """Read ``run.json`` as it was written; raises `OSError`, `Corrupt` or one of `NO_DATA`."""
        data = json.loads(read_regular(folder / RUN, RUN_BYTES))
        if "data_digest" in data:  # where older versions kept it
            data["provenance"] = {"data_digest": data["data_digest"]}
        names = {each.name for each in fields(cls)}
        known = {name: value for name, value in data.items() if name in names}
        return cls(folder=folder, **known)

    def lines(self) -> Iterator[Json]:
        """The lines of ``metrics.jsonl``; one that was cut off, or is none, is left out."""
        try:
            text = read_regular(self.folder / METRICS, METRICS_BYTES)
        except FileNotFoundError:
            return
        for line in text.splitlines():
            try:
                yield dict(json.loads(line))
            except NO_DATA:
                continue

    def images(self) -> frozenset[str]:
        """The first `DIGITS` digits of the digest of each image that it was trained on or chosen
        by; older runs did not note them.
        """
        try:
            return frozenset(read_regular(self.folder / IMAGES, METRICS_BYTES).decode().split())
        except (OSError, ValueError, Corrupt):
            return frozenset()

    def validated(self) -> tuple[float, float] | None:
        """The score of its best candidate on the validation images, and its loss with the sign
        turned: the greater, the better. None where there are no such images.
        """
        score = next((SCORE[task] for task in TASKS if task == self.recipe.get("task")), "")
        candidates = (
            (line[score], -line.get("loss", math.inf))
            for line in self.lines()
            if line.get("kind") in CANDIDATES and isinstance(line.get(score), float)
        )
        return max(candidates, default=None)

    def report(self) -> Json | None:
        """What its test images show, class by class; None where there is none yet, or no more."""
        try:
            return dict(json.loads(read_regular(self.folder / REPORT, METRICS_BYTES)))
        except (OSError, Corrupt, *NO_DATA):
            return None

    def to_json(self) -> Json:
        """Plain data for JSON."""
        left = {"folder", "asked"} | (set() if self.reporter else {"reporter", "reported", "heard"})
        return {
            "id": self.id,
            **{k: v for k, v in _fields(self).items() if k not in left},
            "folder": str(self.folder),
            "resumable": self.resumable,
            "kept": self.kept,
        }


def _fields(run: Run) -> Json:
    return {each.name: getattr(run, each.name) for each in fields(run)}


def list_runs(workspace: Workspace) -> list[Run]:
    """All runs, newest first; a folder that is none is left out."""
    runs = []
    for folder in _folders(workspace):
        try:
            runs.append(Run.read(folder))
        except Invalid:
            continue
    return sorted(runs, key=lambda run: run.id, reverse=True)


def own_runs(runs: list[Run]) -> list[Run]:
    """Those that whoever asks has begun, or may have, as nothing tells."""
    me = config.author()[:NOTE_LETTERS]  # as it is noted
    return [run for run in runs if run.author in (me, "")]


def find_run(workspace: Workspace, name: str) -> Run:
    """The run whose id begins with ``name``, or the newest that is saved as it; ``last`` is the
    newest of `own_runs`.

    Raises:
        UnknownName: None does.
        InvalidOption: Several do.
    """
    runs = list_runs(workspace)
    matching = own_runs(runs) if name == "last" else [run for run in runs if run.save == name]
    matching = matching[:1] or [run for run in runs if run.id.startswith(name)]
    if name and len(matching) > 1:
        ids = ", ".join(run.id for run in matching[:4])
        raise InvalidOption(f"{len(matching)} runs begin with {name}: {ids}; give more of the id")
    if name == "last" and not matching and runs:
        hint = (
            f"none was begun by {config.author()}; whose there are: zoo runs, which gives their ids"
        )
        raise UnknownName("run", name, hint=hint)
    if not matching or not name:
        raise UnknownName("run", name, [run.id for run in matching or runs][:4])
    return matching[0]


def _folders(workspace: Workspace) -> list[Path]:
    home = workspace.root / RUNS
    return [path for path in home.iterdir() if path.is_dir()] if home.is_dir() else []


@contextmanager
def caches(workspace: Workspace) -> Iterator[Path]:
    """The folder of what can be computed again: a temporary one where the zoo may only be read."""
    with writable(workspace, CACHE) as root:
        yield root / CACHE


@contextmanager
def writable(workspace: Workspace, *folders: str) -> Iterator[Path]:
    """The root of the zoo, where these ``folders`` can be written to; a temporary one where the zoo
    may only be read.
    """
    if os.access(workspace.root, os.W_OK):
        with for_all_of(workspace.root, *folders):
            yield workspace.root
    else:
        with TemporaryDirectory(prefix="zoo-") as root:
            for name in folders:
                (Path(root) / name).mkdir()
            yield Path(root)
