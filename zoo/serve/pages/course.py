"""Course: how a run went, or how far it is, from what its journal has."""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from zoo.domain.limits import MIB
from zoo.domain.plain import Json
from zoo.domain.task import SCORE
from zoo.errors import NotAFile
from zoo.lookup.runs import CANDIDATES, METRICS, Run
from zoo.serve.keep.recent import LruCache
from zoo.serve.pages.chart import POINTS, Curve, Point, thinned
from zoo.serve.pages.kept_runs import measure_of
from zoo.store.regular import open_regular

__all__ = ["NAMES", "Course", "Epoch", "Progress", "course_of"]

METRICS_BYTES = 64 * MIB
"""A journal that is longer is not drawn."""
EPOCHS = re.compile(r":(\d{1,6})(@|$)")
AVERAGE = "average of "
ROWS = 200
"""Lines of figures on validation images that are shown."""
NAMES = 30
"""So many of the figures, too: another machine tells of what it likes."""
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
        earlier: How many lines of it were before these.
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
    earlier: int = 0
    progress: Progress = Progress()
    remarks: tuple[str, ...] = ()
    too_long: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What was measured on the validation images, the first of it: the scores, then the others
        by name, the losses last. Lines of a journal have them in any order.
        """

        def order(name: str) -> tuple[bool, bool, str]:
            return name.endswith("loss"), name not in SCORE.values(), name

        return tuple(sorted(self._names[:NAMES], key=order))

    @property
    def more_names(self) -> int:
        """How many further figures there are."""
        return max(0, len(self._names) - NAMES)

    @property
    def _names(self) -> list[str]:
        return [*dict.fromkeys(name for epoch in self.epochs for name in epoch.figures)]


def course_of(run: Run, *, remarks: bool) -> Course:
    """What the journal of a run tells; what was remarked on tells of this machine."""
    try:
        with open_regular(run.folder / METRICS, METRICS) as file:
            state = os.fstat(file.fileno())
            if state.st_size > METRICS_BYTES:
                return Course(too_long=True)
            # One that is resumed is written anew, as another file.
            key = run.folder, state.st_ino
            journal = _read.get(key)
            if journal is None or journal.end > state.st_size:  # another file of that number
                journal = _read.put(key, _Journal())
            course = journal.course(run, file)
    except (OSError, NotAFile):
        return Course()
    return course if remarks else replace(course, remarks=())


class _Series:
    """A line of any length: where it has too many points, neighbors become their mean."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._each, self._sum, self._count = 1, 0.0, 0

    def add(self, x: float, y: float) -> None:
        """Add a point on the right."""
        self._sum += y
        self._count += 1
        if self._count < self._each:
            return
        self.points.append(Point(x, self._sum / self._count))
        self._sum, self._count = 0.0, 0
        if len(self.points) >= 2 * POINTS:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [Point(two.x, (one.y + two.y) / 2) for one, two in pairs]
            self._each *= 2


class _Journal:
    """What was read of a journal: it grows, and only what is new is read."""

    def __init__(self) -> None:
        self._lock, self.end = Lock(), 0
        self.candidates: list[Json] = []
        self.remarks: list[str] = []
        self.last: Json = {}
        self.first: float | None = None
        self.series = {name: _Series() for name in ("loss", "lr", "images_per_second")}

    def course(self, run: Run, file: BinaryIO) -> Course:
        """How the run went, with what is new in the file."""
        with self._lock:
            file.seek(self.end)
            data = file.read(METRICS_BYTES)
            data = data[: data.rfind(b"\n") + 1]  # the last line may be half written
            self.end += len(data)
            for line in data.splitlines():
                self._add(line)
            return self._course(run)

    def _add(self, text: bytes) -> None:
        """Take in a line; one that is none is left out."""
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(line, dict):
            return
        self.first = _number(line, "time") if self.first is None else self.first
        kind, at = line.get("kind"), _number(line, "steps")
        if kind == "step":
            self.last = line
            for name, series in self.series.items():
                value = _number(line, name)
                if at is not None and value is not None:
                    series.add(at, value)
        elif kind in CANDIDATES:
            self.candidates.append(line)
        elif kind == "remark":
            self.remarks.append(str(line.get("text")))

    def _course(self, run: Run) -> Course:
        measure = measure_of(run)
        epochs = [line for line in self.candidates if line.get("kind") == "epoch"]
        own, means = list[Json](), list[Json]()
        for line in epochs:
            (means if str(line.get("name")).startswith(AVERAGE) else own).append(line)
        named = (("validation", own), ("average of weights", means))
        scores = [Curve(name, thinned([*_points(each, measure)])) for name, each in named]
        return Course(
            loss=thinned(self.series["loss"].points),
            validation=thinned([*_points(own, "loss")]),
            scores=tuple(curve for curve in scores if curve.points),
            rates=thinned(self.series["lr"].points),
            speeds=thinned(self.series["images_per_second"].points),
            epochs=tuple(map(_epoch, self.candidates[-ROWS:])),
            earlier=max(0, len(self.candidates) - ROWS),
            progress=self._progress(run, own),
            remarks=tuple(self.remarks),
        )

    def _progress(self, run: Run, epochs: Sequence[Json]) -> Progress:
        latest = epochs[-1] if epochs else {}
        times = [self.first, *(_number(line, "time") for line in epochs)]
        ends = [each for each in times if each is not None]
        # Of one on another machine, which has a clock of its own, what it noted last.
        here = run.status == "running" and not run.reporter
        now = time.time() if here else (_number(self.last, "time") or 0.0)
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


_read: LruCache[tuple[Path, int], _Journal] = LruCache(64)


def _number(line: Json, name: str) -> float | None:
    value = line.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


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
