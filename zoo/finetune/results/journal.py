"""What a run notes: its journal while it runs, and its provenance: what the result depends on
beside recipe and parent, and whether it is so again.
"""

from __future__ import annotations

import json
import logging
import platform
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from os import getpid
from types import TracebackType
from typing import Any, Self

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from zoo import config
from zoo.backbones.rgb import READING
from zoo.domain.limits import NOTE_LETTERS
from zoo.domain.manifest import GUESSED
from zoo.domain.progress import Progress, silent
from zoo.domain.task import Task
from zoo.errors import DiskFull, InvalidData, ZooError
from zoo.finetune.dataset.dataset import Dataset, parts_digest
from zoo.finetune.ranks.ranks import Ranks
from zoo.finetune.results.goodness import goodness
from zoo.finetune.results.trackers import Log, Trackers, named
from zoo.finetune.setup.prepare import COMPUTING, PreparedRun
from zoo.lookup.alive import machine
from zoo.lookup.runs import DIGITS, IMAGES, METRICS, RUNS, STATE, Run
from zoo.packages import version
from zoo.reflog import now
from zoo.store.atomic import write_whole
from zoo.workspace import Workspace

__all__ = [
    "LIBRARIES",
    "NOTHING",
    "SAID",
    "Earlier",
    "Journal",
    "Line",
    "continued",
    "is_as_today",
    "latest",
    "new_run",
    "provenance",
]

Line = Mapping[str, Any]
"""What was noted at one step: ``kind``, ``steps``, ``time``, and figures by name."""
LIBRARIES = (*COMPUTING, "numpy", "scipy", "scikit-learn", "pillow")
TRAINING = 6
"""How a recipe is run; another number gives other bits. Until 2, of equal epochs the latest
was kept, and patience went on through them; probes were not fitted to their optimum; one-cycle was
not torch's; tables of positions decayed in networks of torchvision and transformers; the running
statistics of blends were means. Until 3, a last batch of fewer images counted as much as others in
the statistics that batch norms took of the training images. Until 4, a fold that was held out chose
the C of the probe that was asked about it, and features that hardly move got huge weights. Until 5,
a cache had activations in fp32 where training was in bf16. Until 6, the running statistics of an
average of weights (`EMA`) were averages, too."""
UNRECORDED = {"reading": "1", "training": "1"}
"""What is meant where older versions recorded nothing."""
SAID = ("author", "note")
"""What the provenance has of whoever began a run, and no figure depends on."""
UNKNOWN = (
    "what the base has seen was kept out of the test images, and only the zoo where the base was "
    "trained knows it: run it there, with its runs"
)
"""What helps where a split cannot be drawn again."""
THEN = ", then "
"""Between what a run began with and what it was resumed with."""


def new_run(
    workspace: Workspace,
    prepared: PreparedRun,
    save: str,
    log: Log,
    asked: Mapping[str, object] | None,
    note: str,
    report: str,
) -> Run:
    """A run that is about to begin, in a new folder, and is to be saved under ``save``; ``asked``:
    the options that were given. It says who began it, the ``note``, and to which server it is told.
    """
    texts = {"author": config.author()[:NOTE_LETTERS], "note": note}
    started = now()
    # To the microsecond: runs sort by their ids.
    folder = workspace.root / RUNS / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    folder.mkdir(parents=True)
    write_whole(folder / IMAGES, [_images(prepared.dataset)])
    return Run(
        folder=folder,
        base=prepared.base,
        parent=str(prepared.parent),
        save=save,
        recipe=prepared.recipe.to_json(),
        device=str(prepared.device),
        started=started,
        log=named(log),
        host=socket.gethostname(),
        pid=getpid(),
        machine=machine(),
        provenance={**provenance(prepared), **{name: text for name, text in texts.items() if text}},
        asked=asked or {},
        told_to=report,
    )


def _images(dataset: Dataset) -> bytes:
    """`zoo.lookup.runs.IMAGES` of a run: in the zoo only, as checkpoints are published."""
    known = {dataset.digests[x.key][:DIGITS] for x in (*dataset.train, *dataset.validation)}
    return "".join(f"{digest}\n" for digest in sorted(known)).encode()


class Journal:
    """Notes what a run does, and how it ends. A context manager.

    Lines after so many ``steps`` are dropped: in a run that is resumed, they are done again. A rank
    that does not write (``writes``) notes nothing, and says nothing to ``progress`` and
    ``trackers``. ``by_image`` is the task of a trial, which notes how well each image is told.
    """

    def __init__(
        self,
        run: Run,
        trackers: Trackers,
        *,
        steps: int = 0,
        writes: bool = True,
        progress: Progress = silent,
        by_image: Task | None = None,
    ) -> None:
        self.run, self.writes, self._progress = run, writes, progress
        self._by_image = by_image
        self._trackers, self._steps = trackers, steps
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
        trackers.start(run.to_json(), steps, self.remark)

    def note(self, kind: str, steps: int, **figures: object) -> None:
        """Append a line of ``figures``."""
        if not self.writes:
            return
        line = {"kind": kind, "steps": steps, "time": round(time.time(), 3), **figures}
        try:
            self._file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise DiskFull(self.run.folder) from error
        self._steps = max(steps, self._steps)  # what is measured after training has none
        numbers = {
            f"{kind}/{name}": float(value)
            for name, value in figures.items()
            if isinstance(value, int | float)
        }
        if numbers:
            self._trackers.log(self._steps, numbers)

    def of_images(self, name: str, steps: int) -> Callable[[Tensor, Tensor], None]:
        """What notes, of the weights ``name``, how well each image is told; for trials only."""

        def note_images(outputs: Tensor, targets: Tensor) -> None:
            if self._by_image:
                each = goodness(outputs, targets, self._by_image).tolist()
                self.note("images", steps, name=name, scores=[round(score, 4) for score in each])

        return note_images

    def picture(self, name: str) -> None:
        """Show a picture that is in the run's folder now."""
        if self.writes:
            self._trackers.picture(name, self.run.folder / f"{name}.png")

    def say(self, text: str) -> None:
        """Tell whoever started the run how it goes, in a line that stays."""
        if self.writes:
            self._progress.say(text)

    def remark(self, text: str) -> None:
        """Tell whoever started the run something to know about it, once; empty: nothing."""
        if self.writes and text and text not in self._remarked:
            self._remarked.add(text)
            self.note("remark", 0, text=text)
            logging.getLogger("zoo").warning(text)

    def advise(self, text: str) -> None:
        """As `remark`, of what need not be known: whoever wants no progress is not told."""
        if self.writes and text and text not in self._remarked:
            self._remarked.add(text)
            self.note("remark", 0, text=text)
            self.say(f"note: {text}")

    def done(self, result: Mapping[str, object], *, keep: bool = False) -> None:
        """The run ended; its saved state is no longer needed, unless it is to be kept."""
        if self.writes:
            self.run = replace(self.run, status="done", result=result).write()
            # Last: a run that dies in between is done, and not one to resume without a state.
            if not keep:
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
        if self.run.status == "running":
            failed = isinstance(error, Exception)
            with suppress(ZooError, OSError):  # it must not hide the error itself
                status, text = ("failed", str(error)) if failed else ("interrupted", "")
                self.run = replace(self.run, status=status, error=text).write()
        run = self.run
        with suppress(ZooError):  # a full disk, where one of them fails, too
            self._trackers.finish({"status": run.status, "error": run.error, **run.result})
        self._file.close()


def provenance(prepared: PreparedRun) -> dict[str, str]:
    """Data, split, device, processes, threads (sums are taken in their order), how images are read
    (`zoo.backbones.rgb`), how training goes, versions, and what of the base's preprocessing was a
    guess.
    """
    dataset, guessed = prepared.dataset, ", ".join(prepared.known.guessed)
    return {
        "source": "finetune",
        "data_digest": dataset.digest,
        "split_digest": dataset.split_digest,
        "test_digest": parts_digest(((), (), dataset.test)),  # as an evaluation's `images_digest`
        "skipped_images": str(len(dataset.skipped)),
        "device": prepared.device.type,
        "processes": str(prepared.ranks),
        "threads": str(torch.get_num_threads()),
        "reading": str(READING),
        "training": str(TRAINING),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        **({GUESSED: guessed} if guessed else {}),
    }


def is_as_today(recorded: Mapping[str, str], dataset: Dataset) -> bool:
    """Whether a run was of the images of ``dataset``, split so, and trained as today."""
    here = {
        "data_digest": dataset.digest,
        "split_digest": dataset.split_digest,
        "reading": str(READING),
        "training": str(TRAINING),
    }
    return here.items() <= recorded.items()


def continued(before: Mapping[str, str], prepared: PreparedRun) -> dict[str, str]:
    """The provenance of a resumed run: ``1, then 2`` of what differs from ``before``."""
    both = {name: before[name] for name in SAID if name in before}
    for name, value in provenance(prepared).items():
        was = before.get(name, value)
        both[name] = was if _last(was) == value else f"{was}{THEN}{value}"
    return both


def latest(before: Mapping[str, str]) -> dict[str, str]:
    """What a run was last resumed with."""
    return {name: _last(value) for name, value in before.items()}


def _last(value: str) -> str:
    return value.rpartition(THEN)[2]


@dataclass(frozen=True, slots=True)
class Earlier:
    """The provenance of a run that is resumed or run again, and in words, when that was."""

    provenance: Mapping[str, str]
    when: str
    base: str = ""  # what its lineage calls the base

    def check_data(self, prepared: PreparedRun) -> None:
        """Make sure that images and split are the same: else `InvalidData` is raised, as an image
        that was trained on could be tested on.
        """
        data, dataset = prepared.recipe.data, prepared.dataset
        if dataset.digest != self.provenance.get("data_digest", dataset.digest):
            raise InvalidData(data, [f"it is not what it was {self.when}"])
        # Runs that older versions cut off have none.
        if dataset.split_digest != self.provenance.get("split_digest", dataset.split_digest):
            text = "its images are split into train, validation and test differently than"
            hint = UNKNOWN if prepared.recipe.held_out == "unseen" else None
            raise InvalidData(data, [f"{text} {self.when}"], hint=hint)

    def remark(self, prepared: PreparedRun) -> str:
        """What differs from then, and gives other bits; empty if nothing does."""
        if not self.provenance:
            return ""
        current, differences = provenance(prepared), []
        for name in ("device", "processes", "reading", "training", *LIBRARIES):
            before = self.provenance.get(name, UNRECORDED.get(name, current[name]))
            if before != current[name]:
                differences.append(f"{name} {current[name]} (was {before})")
        if not differences:
            return ""
        return f"other bits than {self.when} are to be expected: {', '.join(differences)}"

    @contextmanager
    def threads(self, device: str, ranks: Ranks) -> Iterator[None]:
        """Compute on a CPU in as many threads as it was, where that can give the same bits."""
        before, count = torch.get_num_threads(), self.provenance.get("threads", "")
        alike = self.provenance.get("processes") == str(ranks)
        if device == "cpu" and alike and count.isdecimal():
            torch.set_num_threads(int(count))
        try:
            # A probe is fitted in NumPy's: one number tells of both.
            with threadpool_limits(torch.get_num_threads(), user_api="blas"):
                yield
        finally:
            torch.set_num_threads(before)


NOTHING = Earlier({}, "")
"""Of what is done for the first time."""
