"""Weights & Biases. Its own settings say where to: ``WANDB_PROJECT``, ``WANDB_MODE=offline``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

__all__ = ["WandbTracker"]


class WandbTracker:
    """A `zoo.contracts.Tracker`; the run there has the id of the one here."""

    def start(self, run: Mapping[str, Any], step: int) -> None:
        """See `zoo.contracts.Tracker.start`."""
        del step
        self._run = wandb.init(
            id=run["id"],
            name=run["save"],
            config={"base": run["base"], "device": run["device"], **run["recipe"]},
            dir=run["folder"],
            resume="allow",
            reinit="create_new",  # one that is going on in a notebook is left alone
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `zoo.contracts.Tracker.log`."""
        self._run.log(dict(values), step=step)

    def picture(self, name: str, file: Path) -> None:
        """See `zoo.contracts.Tracker.picture`."""
        self._run.log({name: wandb.Image(str(file))})

    def finish(self, report: Mapping[str, object]) -> None:
        """See `zoo.contracts.Tracker.finish`."""
        self._run.summary.update({key: v for key, v in report.items() if key != "metrics"})
        self._run.finish(exit_code=0 if report["status"] == "done" else 1)
