"""Course: how a run went, or how far it is, from what its journal has."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo.domain.limits import MIB
from zoo.domain.plain import Json
from zoo.lookup.runs import CANDIDATES, METRICS, Run
from zoo.serve.keep.recent import Recent
from zoo.serve.pages.chart import Curve, Point, thinned
from zoo.serve.pages.kept_runs import measure_of

__all__ = ["Course", "Epoch", "Progress", "course_of"]

METRICS_BYTES = 64 * MIB
"""A journal that is longer is not drawn."""
EPOCHS = re.compile(r":(\d{1,6})(@|$)")
AVERAGE = "average of "
ROWS = 200
"""Lines of figures on validation images that are shown."""
NO_FIGURES = ("steps", "time", "memory_bytes", "kind", "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is; None of what is not known.

    Attributes:
        step: Steps that were done.
        epoch: Epochs that were.
        epochs: Of how many.
        rate: The head's learning rate.
        images_per_second: While it trains.
        memory_bytes: What the process had, of an accelerator the most that it had in use.
        seconds: Since it began.
        seconds_left: Of training, from the epoch before; None before there is one.
    """

    step: int = 0
    epoch: int = 0
    epochs: int | None = None
    rate: float | None = None
    images_per_second: float | None = None
    memory_bytes: int | None = None
    seconds: float = 0.0
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What was measured on the validation images: of which weights, after so many steps."""

    name: str
    step: int
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a run went: what its journal has.

    Attributes:
        loss: Of training, by step.
        validation: Of the validation images, by step.
        scores: On the validation images, by step; of weights that were averaged, apart.
        rates: Of the head, by step.
        speeds: Images per second, by step.
        epochs: What was measured, as a table.
        progress: How far it is.
        remarks: What was remarked on.
        too_long: Whether it is too long to be drawn.
    """

    loss: tuple[Point, ...] = ()
    validation: tuple[Point, ...] = ()
    scores: tuple[Curve, ...] = ()
    rates: tuple[Point, ...] = ()
    speeds: tuple[Point, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    progress: Progress = Progress()
    remarks: tuple[str, ...] = ()
    too_long: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What was measured on the validation images, the losses last."""
        names = dict.fromkeys(name for epoch in self.epochs for name in epoch.figures)
        return tuple(sorted(names, key=lambda name: name.endswith("loss")))


def course_of(run: Run, *, remarks: bool) -> Course:
    """What the journal of a run tells; what was remarked on tells of this machine."""
    try:
        state = (run.folder / METRICS).stat()
    except OSError:
        return Course()
    if state.st_size > METRICS_BYTES:
        return Course(too_long=True)
    key = run.folder, state.st_mtime_ns, state.st_size
    lines = _read.get(key) or _read.put(key, _Lines([*run.lines()]))
    course = lines.course(run)
    return course if remarks else replace(course, remarks=())


class _Lines:
    """The lines of a journal, by kind; all but figures and names is left out."""

    def __init__(self, lines: Sequence[Json]) -> None:
        steps = [line for line in lines if line.get("kind") == "step"]
        self.candidates = [line for line in lines if line.get("kind") in CANDIDATES]
        self.remarks = [str(line.get("text")) for line in lines if line.get("kind") == "remark"]
        self.steps, self.last = len(steps), steps[-1] if steps else {}
        self.first = _number(lines[0], "time") if lines else None
        self.loss, self.rates, self.speeds = (
            thinned([*_points(steps, name)]) for name in ("loss", "lr", "images_per_second")
        )

    def course(self, run: Run) -> Course:
        """How the run went."""
        measure = measure_of(run)
        epochs = [line for line in self.candidates if line.get("kind") == "epoch"]
        own = [line for line in epochs if not str(line.get("name")).startswith(AVERAGE)]
        means = [line for line in epochs if line not in own]
        named = (("validation", own), ("average of weights", means))
        scores = [Curve(name, thinned([*_points(each, measure)])) for name, each in named]
        return Course(
            loss=self.loss,
            validation=thinned([*_points(own, "loss")]),
            scores=tuple(curve for curve in scores if curve.points),
            rates=self.rates,
            speeds=self.speeds,
            epochs=tuple(map(_epoch, self.candidates[-ROWS:])),
            progress=self._progress(run, own),
            remarks=tuple(self.remarks),
        )

    def _progress(self, run: Run, epochs: Sequence[Json]) -> Progress:
        latest = epochs[-1] if epochs else {}
        times = [self.first, *(_number(line, "time") for line in epochs)]
        ends = [each for each in times if each is not None]
        now = time.time() if run.status == "running" else (_number(self.last, "time") or 0.0)
        whole, left = _epochs(run.recipe), None
        if whole and len(ends) > 1 and run.status == "running":
            each = ends[-1] - ends[-2]
            left = max(0.0, each * (whole - len(epochs)) - (now - ends[-1]))
        took = _number(dict(run.result), "seconds")
        memory = _number(latest, "memory_bytes")
        return Progress(
            step=int(_number(self.last, "steps") or 0),
            epoch=len(epochs),
            epochs=whole,
            rate=_number(self.last, "lr"),
            images_per_second=_number(self.last, "images_per_second"),
            memory_bytes=None if memory is None else int(memory),
            seconds=took if took else max(0.0, now - ends[0]) if ends else 0.0,
            seconds_left=left,
        )


_read: Recent[tuple[Path, int, int], _Lines] = Recent(64)


def _number(line: Json, name: str) -> float | None:
    value = line.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _points(lines: Iterable[Json], name: str) -> Iterator[Point]:
    for line in lines:
        at, value = _number(line, "steps"), _number(line, name)
        if at is not None and value is not None:
            yield Point(at, value)


def _epoch(line: Json) -> Epoch:
    figures = {name: _number(line, name) for name in line if name not in NO_FIGURES}
    return Epoch(
        name=str(line.get("name", line["kind"])),
        step=int(_number(line, "steps") or 0),
        figures={name: value for name, value in figures.items() if value is not None},
    )


def _epochs(recipe: Mapping[str, Any]) -> int | None:
    """How many epochs a recipe has; None of a probe."""
    phases = [EPOCHS.search(str(phase)) for phase in recipe.get("phases") or ()]
    if phases:
        return sum(int(match[1]) for match in phases if match)
    epochs = recipe.get("epochs")
    return epochs if isinstance(epochs, int) and recipe.get("strategy") != "probe" else None
