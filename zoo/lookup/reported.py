"""Reported: runs on other machines, as they were told to the server of this zoo.

They lie apart from the runs of this zoo (`zoo.lookup.runs`), as anybody who may write to a name can
have told anything: no checkpoint, split or path is ever taken from them. They are shown, and by
whom they were told.

reported/team/20261124-211503-481516-0123456789abcdef/
  run.json, metrics.jsonl, report.json, confusion.json, …   as of a run, as far as it was told
  heard                                                     its time is when that was last
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from zoo.errors import Corrupt, NotAFile, UnknownName
from zoo.lookup.runs import NO_DATA, Run, find_run, list_runs
from zoo.workspace import Workspace

__all__ = [
    "HEARD",
    "REPORTED",
    "all_runs",
    "as_heard",
    "find_any",
    "read_reported",
    "reported_folders",
]

REPORTED = "reported"
HEARD = "heard"
ID = re.compile(r"\d{8}-\d{6}-\d{6}-[0-9a-f]{16}")
SILENT_SECONDS = 120.0
"""After so long without a word, nobody knows whether a run still goes on: it is to speak every ten
seconds, and a server may be away for a moment.
"""


def reported_folders(root: Path) -> list[Path]:
    """The folders of those of the zoo in ``root``, newest first."""
    home = str(root / REPORTED)
    try:
        namespaces = os.listdir(home)  # noqa: PTH208 - of thousands, paths would take most of it
    except FileNotFoundError:
        return []
    runs = []
    for namespace in namespaces:
        with suppress(NotADirectoryError, FileNotFoundError):
            names = os.listdir(f"{home}/{namespace}")  # noqa: PTH208
            runs += [(name, namespace) for name in names if ID.fullmatch(name)]
    return [Path(home, namespace, name) for name, namespace in sorted(runs, reverse=True)]


def read_reported(folder: Path) -> Run | None:
    """One of them; None if there is none."""
    try:
        return as_heard(Run.kept_in(folder))
    except (OSError, AttributeError, Corrupt, NotAFile, *NO_DATA):
        return None


def as_heard(run: Run) -> Run:
    """One of them as it is by now, by when its machine was last heard of; raises `OSError`."""
    if run.status != "running":
        return run
    at = (run.folder / HEARD).stat().st_mtime
    silent = time.time() - at > SILENT_SECONDS
    heard = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return replace(run, heard=heard, status="silent" if silent else run.status)


def all_runs(workspace: Workspace) -> list[Run]:
    """The runs of a zoo, and those that were reported to its server, newest first."""
    reported = map(read_reported, reported_folders(workspace.root))
    runs = [*list_runs(workspace), *(run for run in reported if run)]
    return sorted(runs, key=lambda run: run.id, reverse=True)


def find_any(workspace: Workspace, name: str) -> Run:
    """As `find_run`; what was reported is found by its whole id.

    Raises:
        UnknownName: There is none.
        InvalidOption: Several begin so.
    """
    try:
        return find_run(workspace, name)
    except UnknownName:
        if ID.fullmatch(name):
            for folder in (workspace.root / REPORTED).glob(f"*/{name}"):
                if run := read_reported(folder):
                    return run
        raise
