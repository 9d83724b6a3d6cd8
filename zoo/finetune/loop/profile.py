"""Profile: which part of a step takes the time, and a trace of some steps.

The first steps warm up; the next are traced (https://docs.pytorch.org/docs/stable/profiler.html);
those after them are timed part by part, as tracing itself takes time. Where a device computes on
its own, it is waited for at the end of each part of a timed step: what overlaps elsewhere adds up.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from operator import attrgetter
from time import perf_counter
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.profiler import profile, record_function

from zoo import config
from zoo.domain.words import plural
from zoo.errors import disk_errors
from zoo.finetune.features.loaders import Batch, Forward, Inputs, Loader
from zoo.finetune.loop.learner import Learner
from zoo.finetune.results.journal import Journal
from zoo.store.atomic import write_whole

__all__ = ["Fed", "Profile"]

TRACE, FIGURES = "trace.json.gz", "profile.json"
WARM, TRACED, TIMED = 3, 3, 20
"""Steps of each kind, one after another."""
MOST_BATCHES = 16
"""In a trace: a step may be of many, and the events of all are in memory."""
OPERATORS = 10
"""So many are told of, those that take longest."""
PARTS = DATA, FORWARD, BACKWARD, OPTIMIZER, REST = (
    "data",
    "forward",
    "backward",
    "optimizer",
    "rest",
)


class Fed(NamedTuple):
    """The two things that a training asks of a `Loader`."""

    epoch: Callable[..., Iterator[Batch]]
    forward: Forward


class Profile:
    """Watches the steps of a phase. A context manager: leaving it writes ``trace.json.gz`` and
    ``profile.json`` into the run's folder and tells the ``journal``; of several phases
    ``trace-1.json.gz`` and so on, from 1.

    Parts of a step: ``data`` is until a batch is there; ``forward`` gives the outputs; ``backward``
    is the loss, its gradients and their clipping; ``optimizer`` moves the weights; ``rest`` is what
    comes after that, as an average of the weights, the journal, and saving the state.
    """

    def __init__(self, journal: Journal, phase: int, phases: int) -> None:
        self._journal, folder = journal, journal.run.folder
        self._of, number = (f"phase {phase}: ", f"-{phase}") if phases > 1 else ("", "")
        self._trace_file, self._figures_file = (
            folder / name.replace(".", f"{number}.", 1) for name in (TRACE, FIGURES)
        )
        self._steps = self._batches = self._images = 0
        self._seconds: dict[str, float] = defaultdict(float)
        self._part, self._began = "", 0.0
        self._shown: AbstractContextManager[object] | None = None  # the part, in the trace
        self._trace: profile | None = None
        self._operators: list[dict[str, Any]] = []  # those that took longest in the trace
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._device = torch.device("cpu")

    def watch(self, learner: Learner, loader: Loader) -> Loader | Fed:
        """What to train on instead of ``loader``, for its steps to be watched."""
        if not self._journal.writes:
            return loader
        self._device, optimizer = learner.device, learner.optimizer
        self._hooks = [
            optimizer.register_step_pre_hook(lambda *_: self._enter(OPTIMIZER)),
            optimizer.register_step_post_hook(lambda *_: self._end_step()),
        ]

        def epoch(number: int, *, skip: int = 0) -> Iterator[Batch]:
            self._part = ""  # what lies between two epochs is no part of a step
            batches = loader.epoch(number, skip=skip)
            while True:
                self._enter(DATA)
                batch = next(batches, None)
                if batch is None:
                    self._enter("")
                    return
                self._took(batch)
                yield batch

        def forward(inputs: Inputs) -> Tensor:
            self._enter(FORWARD)
            outputs = loader.forward(inputs)
            self._enter(BACKWARD)
            return outputs

        return Fed(epoch, forward)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_trace()
        for hook in self._hooks:
            hook.remove()
        if error is None and self._journal.writes:
            self._tell()

    @property
    def _timing(self) -> bool:
        return WARM + TRACED <= self._steps < WARM + TRACED + TIMED

    def _took(self, batch: Batch) -> None:
        self._images += batch.images if self._timing else 0
        self._batches += self._trace is not None
        if self._batches > MOST_BATCHES:
            self._end_trace()

    def _enter(self, part: str) -> None:
        """End the part of a step that goes on, and begin another."""
        if self._timing:
            if self._device.type != "cpu":
                torch.accelerator.synchronize(self._device)
            now = perf_counter()
            if self._part:
                self._seconds[self._part] += now - self._began
            self._began = now
        self._part = part
        if self._trace:
            self._show(record_function(part) if part else None)

    def _show(self, part: AbstractContextManager[object] | None) -> None:
        if self._shown:
            self._shown.__exit__(None, None, None)
        self._shown = part
        if part:
            part.__enter__()

    def _end_step(self) -> None:
        self._enter(REST)
        self._steps += 1
        if self._steps == WARM:
            config.keep_profiler_quiet()
            self._trace = profile()  # of the processor, and of the accelerator that there is
            self._trace.start()
        elif self._steps == WARM + TRACED:
            self._end_trace()
            self._part = ""  # writing that is no part of a step

    def _end_trace(self) -> None:
        """Write the trace, and note which operators took longest."""
        trace, self._trace = self._trace, None
        self._show(None)
        if not trace:
            return
        trace.stop()
        with disk_errors(self._trace_file.parent):
            trace.export_chrome_trace(str(self._trace_file))
        kind = "cpu" if self._device.type == "cpu" else "device"
        own = attrgetter(f"self_{kind}_time_total")  # microseconds
        operators = [each for each in trace.key_averages() if each.key not in PARTS]
        whole = sum(map(own, operators)) or 1.0
        longest = sorted(operators, key=own, reverse=True)[:OPERATORS]
        self._operators = [
            {"name": each.key, "calls": each.count, "share": round(own(each) / whole, 4)}
            for each in longest
        ]

    def _tell(self) -> None:
        """Write the figures, and say them."""
        timed = min(self._steps - WARM - TRACED, TIMED)
        if timed <= 0:
            more = WARM + TRACED + 1
            text = f"no step is timed: that takes {more} steps, and these were {self._steps}"
            self._journal.remark(self._of + text)
            return
        whole = sum(self._seconds.values())
        figures = {
            "device": str(self._device),
            "threads": torch.get_num_threads(),
            "steps": timed,
            "images": self._images,
            "seconds": {part: round(took, 6) for part, took in self._seconds.items()},
            "traced_steps": TRACED,
            "operators": self._operators,
        }
        write_whole(self._figures_file, [(json.dumps(figures, indent=2) + "\n").encode()])
        for line in self._lines(timed, whole):
            self._journal.say(line)

    def _lines(self, timed: int, whole: float) -> Sequence[str]:
        speed = self._images / whole
        each = f"{self._images / timed:.0f} images and {1000 * whole / timed:.1f} ms each"
        rows = [f"{self._of}{plural(timed, 'step')} timed, {each}: {speed:,.0f} images/s"]
        for part, took in self._seconds.items():
            rows.append(f"  {part:9} {1000 * took / timed:9.2f} ms {took / whole:5.0%}")
        longest = ", ".join(f"{each['name']} {each['share']:.0%}" for each in self._operators[:3])
        rows.append(f"of the operators, those that take longest: {longest}")
        return [*rows, f"trace of {TRACED} steps, for ui.perfetto.dev: {self._trace_file}"]
