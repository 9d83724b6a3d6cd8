"""Aim. Runs go to the repository (``.aim``) nearest to the current folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aim

__all__ = ["AimTracker"]


class AimTracker:
    """A `zoo.contracts.Tracker`; a run is called by its id, in an experiment of the name that its
    result is saved under.
    """

    def start(self, run: Mapping[str, Any], step: int) -> None:
        """See `zoo.contracts.Tracker.start`."""
        del step
        repo = aim.Repo.default_repo(init=True)
        known = repo.query_runs(f"run.name == '{run['id']}'", report_mode=0)
        again = next((each.run.hash for each in known.iter_runs()), None)
        self._run = aim.Run(
            again,
            experiment=run["save"],
            force_resume=again is not None,
            system_tracking_interval=None,
            capture_terminal_logs=False,
        )
        self._run.name = run["id"]
        self._run["recipe"] = {key: str(value) for key, value in run["recipe"].items()}
        self._run["base"], self._run["folder"] = run["base"], str(run["folder"])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `zoo.contracts.Tracker.log`."""
        for name, value in values.items():
            self._run.track(value, name=name, step=step)

    def picture(self, name: str, file: Path) -> None:
        """See `zoo.contracts.Tracker.picture`."""
        self._run.track(aim.Image(str(file)), name=name)

    def finish(self, report: Mapping[str, object]) -> None:
        """See `zoo.contracts.Tracker.finish`."""
        self._run["status"] = report["status"]
        self._run.close()
