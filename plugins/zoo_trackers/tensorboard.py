"""TensorBoard, which reads the folder of the zoo's runs: ``tensorboard --logdir runs``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from zoo.domain.task import SCORE

__all__ = ["TensorboardTracker"]


class TensorboardTracker:
    """A `zoo.contracts.Tracker`: event files in a folder of the run's, called as its result is."""

    def start(self, run: Mapping[str, Any], step: int) -> None:
        """See `zoo.contracts.Tracker.start`."""
        name = run["save"].replace("/", "-").replace(":", "-")
        folder = Path(run["folder"]) / name
        _wait_for_another_second(folder)
        # It hides what an earlier one wrote of the steps after that.
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)
        recipe = {key: value for key, value in run["recipe"].items() if value is not None}
        given = {
            key: value if isinstance(value, bool | int | float) else str(value)
            for key, value in {"base": run["base"], "device": run["device"], **recipe}.items()
        }
        # Not `add_hparams`: that makes another run for them.
        columns = dict.fromkeys((f"test/{SCORE[recipe['task']]}", "test/loss", "step/loss"), 0.0)
        self._events = self._writer._get_file_writer()  # type: ignore[no-untyped-call]
        experiment, begin, self._end = hparams(given, columns)  # type: ignore[no-untyped-call]
        self._events.add_summary(experiment)
        self._events.add_summary(begin)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `zoo.contracts.Tracker.log`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, name: str, file: Path) -> None:
        """See `zoo.contracts.Tracker.picture`."""
        with Image.open(file) as image:
            self._writer.add_image(name, np.asarray(image.convert("RGB")), dataformats="HWC")

    def finish(self, report: Mapping[str, object]) -> None:
        """See `zoo.contracts.Tracker.finish`."""
        if report["status"] == "done":
            self._events.add_summary(self._end)
        self._writer.close()


def _wait_for_another_second(folder: Path) -> None:
    """Event files are read in the order of their names, which begin with the second; those of one
    second may be read the wrong way round.
    """
    now = time.time()
    if any(folder.glob(f"events.out.tfevents.{int(now):010d}.*")):
        time.sleep(1 - now % 1)
