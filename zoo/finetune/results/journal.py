"""The journal of a run: its log while it runs, and the pictures drawn of it."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from os import getpid
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from zoo.errors import DiskFull, ZooError
from zoo.finetune.results.provenance import provenance
from zoo.finetune.setup.prepare import Prepared
from zoo.lookup.alive import machine
from zoo.lookup.runs import METRICS, RUNS, STATE, Run
from zoo.reflog import now
from zoo.store.atomic import write_whole
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Journal", "Line", "new_run"]

Line = Mapping[str, Any]
"""What was noted at one step: ``kind``, ``steps``, ``time``, and figures by name."""


def new_run(workspace: Workspace, prepared: Prepared, save: str) -> Run:
    """A run that is about to begin, in a new folder, and is to be saved under ``save``."""
    started = now()
    # To the microsecond: runs sort by their ids.
    folder = workspace.root / RUNS / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    folder.mkdir(parents=True)
    return Run(
        folder=folder,
        base=prepared.base,
        parent=str(prepared.parent),
        save=save,
        recipe=prepared.recipe.to_json(),
        device=str(prepared.device),
        started=started,
        provenance=provenance(prepared),
    )


class Journal:
    """Notes what a run does, and how it ends. A context manager.

    Lines after so many ``steps`` are dropped: in a run that is resumed, they are done again. A rank
    that does not write (``writes``) notes nothing.
    """

    def __init__(self, run: Run, *, steps: int = 0, writes: bool = True) -> None:
        self.run, self.writes = run, writes
        if not writes:
            return
        host, pid = socket.gethostname(), getpid()
        run = self.run = replace(
            run, status="running", error="", host=host, pid=pid, machine=machine()
        ).write()
        lines = [line for line in run.lines() if line.get("steps", 0) <= steps]
        self._remarked = {line.get("text") for line in lines if line["kind"] == "remark"}
        path = run.folder / METRICS
        write_whole(path, [(json.dumps(line) + "\n").encode() for line in lines])
        self._file = path.open("a", buffering=1)  # by lines: what is killed keeps what it noted
        self._board = _board(run.folder, steps + 1)

    def note(self, kind: str, steps: int, **figures: object) -> None:
        """Append a line of ``figures``."""
        if not self.writes:
            return
        line = {"kind": kind, "steps": steps, "time": round(time.time(), 3), **figures}
        try:
            self._file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise DiskFull(self.run.folder) from error
        if self._board:
            for name, value in figures.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{kind}/{name}", value, steps)

    def remark(self, text: str) -> None:
        """Tell whoever started the run something to know about it, once; empty: nothing."""
        if self.writes and text and text not in self._remarked:
            self._remarked.add(text)
            self.note("remark", 0, text=text)
            logging.getLogger("zoo").warning(text)

    def done(self, result: Mapping[str, object]) -> None:
        """The run ended; its saved state is no longer needed."""
        if self.writes:
            self.run = replace(self.run, status="done", result=result).write()
            # Last: a run that dies in between is done, and not one to resume without a state.
            (self.run.folder / STATE).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.writes:
            return
        self._file.close()
        if self._board:
            self._board.close()
        if self.run.status == "running":
            failed = isinstance(error, Exception)
            with suppress(ZooError, OSError):  # it must not hide the error itself
                status, text = ("failed", str(error)) if failed else ("interrupted", "")
                self.run = replace(self.run, status=status, error=text).write()


def _board(folder: Path, begin: int) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    # It hides what an earlier one wrote of the steps from `begin` on.
    return SummaryWriter(str(folder), purge_step=begin)
