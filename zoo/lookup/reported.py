"""Reported: runs on other machines, as they were told to the server of this zoo.

They lie apart from the runs of this zoo (`zoo.lookup.runs`), as anybody who may write to a name can
have told anything: no checkpoint, split or path is ever taken from them. They are shown, and by
whom they were told.

reported/team/20261124-211503-481516-0123456789abcdef/
  run.json, metrics.jsonl, report.json, confusion.json, …   as of a run, as far as it was told
  heard                                                     its time is when that was last
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from zoo.errors import Corrupt, NotAFile, UnknownName
from zoo.lookup.runs import NO_DATA, Run, find_run, list_runs
from zoo.workspace import Workspace

__all__ = ["HEARD", "REPORTED", "all_runs", "find_any", "read_reported", "reported_runs"]

REPORTED = "reported"
HEARD = "heard"
ID = re.compile(r"\d{8}-\d{6}-\d{6}-[0-9a-f]{16}")
SILENT_SECONDS = 120.0
"""After so long without a word, nobody knows whether a run still goes on: it is to speak every ten
seconds, and a server may be away for a moment.
"""


def reported_runs(root: Path) -> list[Run]:
    """All of the zoo in ``root``, newest first; a folder that is none is left out."""
    found = (read_reported(folder) for folder in (root / REPORTED).glob("*/*"))
    return sorted((run for run in found if run), key=lambda run: run.id, reverse=True)


def read_reported(folder: Path) -> Run | None:
    """One of them; None if there is none."""
    if not ID.fullmatch(folder.name):
        return None
    try:
        run, at = Run.kept_in(folder), (folder / HEARD).stat().st_mtime
    except (OSError, AttributeError, Corrupt, NotAFile, *NO_DATA):
        return None
    silent = run.status == "running" and time.time() - at > SILENT_SECONDS
    heard = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return replace(run, heard=heard, status="silent" if silent else run.status)


def all_runs(workspace: Workspace) -> list[Run]:
    """The runs of a zoo, and those that were reported to its server, newest first."""
    found = [*list_runs(workspace), *reported_runs(workspace.root)]
    return sorted(found, key=lambda run: run.id, reverse=True)


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
