"""MLflow. Its own settings say where to: ``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow

__all__ = ["MlflowTracker"]

TAG = "zoo.run"
ENDS = {"done": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MlflowTracker:
    """A `zoo.contracts.Tracker`; a run there is found again by the tag ``zoo.run``."""

    def start(self, run: Mapping[str, Any], step: int) -> None:
        """See `zoo.contracts.Tracker.start`."""
        del step
        nested = mlflow.active_run() is not None
        where = f"tags.`{TAG}` = '{run['id']}'"
        known = mlflow.search_runs(filter_string=where, output_format="list")
        if known:
            self._id = mlflow.start_run(known[0].info.run_id, nested=nested).info.run_id
            return
        tags = {TAG: run["id"], "zoo.folder": str(run["folder"])}
        self._id = mlflow.start_run(run_name=run["save"], nested=nested, tags=tags).info.run_id
        mlflow.log_params({"base": run["base"], "device": run["device"], **run["recipe"]})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `zoo.contracts.Tracker.log`."""
        mlflow.log_metrics(dict(values), step=step, synchronous=False, run_id=self._id)

    def picture(self, name: str, file: Path) -> None:
        """See `zoo.contracts.Tracker.picture`."""
        del name
        mlflow.log_artifact(str(file), run_id=self._id)

    def finish(self, report: Mapping[str, Any]) -> None:
        """See `zoo.contracts.Tracker.finish`."""
        mlflow.flush_async_logging()
        mlflow.end_run(ENDS[report["status"]])
