"""State: all that a training which was cut off needs to be resumed to the same bits.

`State.save` writes it and `State.load` and `State.restore` bring it back: weights at once, since
caches and averages are made from them; the rest as soon as the phase has a learner again.
"""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import torch
from safetensors.torch import load_file
from torch import Tensor

from zoo.backbones.devices import random_state, set_random_state
from zoo.backbones.save import save_state
from zoo.domain.task import ERRORS, SCORE
from zoo.errors import Invalid
from zoo.finetune.loop.learner import Learner, StateDict, live_tensors
from zoo.finetune.ranks.ranks import Ranks
from zoo.finetune.results.journal import Journal
from zoo.finetune.setup.prepare import PreparedRun
from zoo.lookup.runs import STATE, WEIGHTS
from zoo.store.atomic import write_whole
from zoo.store.regular import open_regular

__all__ = [
    "Best",
    "SavedState",
    "Snapshots",
    "State",
    "put",
    "rank",
    "read_state",
    "saved_in",
    "snapshot",
    "write_state",
]

RARELY = 50
"""Training between two saves takes at least this many times as long as saving."""


@dataclass
class Position:
    """How far a training is."""

    phase: int = 0
    epoch: int = 0  # within the phase
    batch: int = 0  # batches of that epoch that are done
    steps: int = 0  # since the training began
    losses: float = 0.0  # sum of those of that epoch's steps
    counted: int = 0  # steps in it; 0 in states of older versions

    @property
    def loss(self) -> float | None:
        """The mean loss of the epoch's steps so far; None if none is counted."""
        return self.losses / self.counted if self.counted else None


@dataclass
class Best:
    """The best weights so far, and their result on the validation split, if there is one."""

    name: str = ""  # probe, or epoch 3, or average of epoch 3
    score: float | None = None
    since: int = 0  # epochs that brought no better score
    tensors: dict[str, Tensor] = field(default_factory=dict)  # what training has moved, by name
    loss: float = math.nan  # states of older versions have none

    @property
    def rank(self) -> tuple[float, float]:
        """What the better one has more of; see `rank`."""
        return rank(self.score, self.loss)

    def end_epoch(self, reached: float, patience: int) -> bool:
        """Count an epoch before which the score was ``reached``; whether patience is at its end.

        A plateau ends, too: only a better score counts, not the same with a smaller loss.
        """
        self.since = 0 if self.rank[0] > reached else self.since + 1
        return bool(patience) and self.score is not None and self.since >= patience


@dataclass
class SavedState:
    """A training between two steps, as it lies on disk."""

    position: Position
    best: Best
    tensors: dict[str, Tensor]  # what training moves, by name
    learner: StateDict | None = None  # None between phases
    random: list[dict[str, Tensor]] = field(default_factory=list)  # generators, of each rank


class Snapshots:
    """Weights of a run by name, on disk until it is done, for blends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep ``tensors`` as ``name``, in the place of others; raises `DiskFull`."""
        self.folder.mkdir(exist_ok=True)
        # Renamed when it is whole: a run that is cut off here is resumed, and must not read half.
        partial = self.folder / ".partial"
        save_state(tensors, partial)
        partial.replace(self._path(name))

    def names(self) -> list[str]:
        """All names, ``epoch 2`` before ``epoch 10``."""
        names = (path.stem for path in self.folder.glob("*.safetensors"))
        return sorted(names, key=lambda name: (len(name), name))

    def read(self, name: str) -> dict[str, Tensor]:
        """What was kept as ``name``."""
        tensors: dict[str, Tensor] = load_file(self._path(name))
        return tensors

    def clear(self) -> None:
        """Forget all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


class State:
    """Where a training is, and how that is saved in the run's folder.

    The journal notes how far what is saved is.

    After so many steps (``save_every``) and each epoch; 0: after an epoch, but where saving takes
    long no more often than costs a fiftieth of the time. After the last one of a phase always: an
    interrupt is not held while the next begins, nor while it concludes.

    Attributes:
        live: What training moves, by name.
        position: How far it is.
        best: The best so far.
        score: The latest, if any was taken.
        snapshots: Weights that blends are made of.
    """

    def __init__(self, prepared: PreparedRun, journal: Journal, save_every: int = 0) -> None:
        self.live = live_tensors(
            prepared.model, prepared.hierarchy, prepared.lowest, prepared.tuned
        )
        self.ranks, self.measure = prepared.ranks, SCORE[prepared.task]
        self.errors = ERRORS.get(prepared.task, ())
        self.device = prepared.device
        self.path, self.save_every = journal.run.folder / STATE, save_every
        self.epochs = [phase.epochs for phase in prepared.recipe.plan()]
        self._journal = journal
        self.position, self.best = Position(), Best()
        self.score: float | None = None
        self.snapshots = Snapshots(self.path.parent / WEIGHTS)
        self._saved: SavedState | None = None
        self._next_save = 0.0

    def save(self, learner: Learner | None) -> None:
        """Write all that is needed to resume from here; all ranks come here together."""
        began, moving = monotonic(), None
        devices = {torch.device("cpu"), self.device}
        generators = {each.type: random_state(each) for each in devices}
        random = self.ranks.gather(generators)
        if learner:
            self.ranks.collect(learner.model, self.live)
            moving = self.ranks.full(learner.state_dict())
        if self.ranks.is_main:
            saved = SavedState(self.position, self.best, snapshot(self.live), moving, random)
            write_state(saved, self.path)
            self._journal.note("saved", self.position.steps, up_to=self._up_to())
            self._next_save = monotonic() + RARELY * (monotonic() - began)

    def _up_to(self) -> str:
        """Where it is, in words, to say what a run that is cut off has kept."""
        at = self.position
        done, whole = sum(self.epochs[: at.phase]) + at.epoch, sum(self.epochs)
        if at.batch:
            return f"step {at.steps}, in epoch {done + 1} of {whole}"
        return f"epoch {done} of {whole}" if done else "the probe"

    def load(self, saved: SavedState) -> None:
        """Go to where ``saved`` was taken; `restore` does the rest, when there is a learner."""
        self.position, self.best, self._saved = saved.position, saved.best, saved
        put(saved.tensors, self.live)

    def restore(self, learner: Learner) -> None:
        """Bring the learner of a phase, and this rank's generators, to where the state that was
        loaded has them; the phases after that begin anew.
        """
        saved, self._saved = self._saved, None
        if not (self.position.epoch or self.position.batch):
            self.best.since = 0  # each phase has all the patience
        if saved and saved.learner:
            learner.load_state_dict(saved.learner)
        # Last: making a learner may draw. A rank that was not there before keeps its own seed.
        if saved and self.ranks.rank < len(saved.random):
            states = saved.random[self.ranks.rank]
            for each in (torch.device("cpu"), self.device):
                if each.type in states:  # it may have been on another device before
                    set_random_state(each, states[each.type])

    def due(self) -> bool:
        """Whether to save after an epoch; all ranks ask together."""
        return bool(self.save_every) or self.ranks.on_main(lambda: monotonic() >= self._next_save)

    def consider(self, name: str, metrics: Mapping[str, float]) -> None:
        """Take the live weights for the best, if their metrics on the validation split are."""
        best, score, loss = self.best, metrics.get(self.measure), metrics.get("loss", math.nan)
        self.score = self.score if score is None else score
        # Of equal scores the smaller loss counts, and else what was there before. Without a score
        # the latest is the best.
        if score is None or not best.name or rank(score, loss) > best.rank:
            best.name, best.score, best.loss = name, score, loss
            best.tensors = snapshot(self.live) if self.ranks.is_main else {}

    def summary(self, name: str, metrics: Mapping[str, float]) -> str:
        """What is said of weights that are no epoch's."""
        if (score := metrics.get(self.measure)) is None:
            return f"{name} done"
        errors = "".join(f"  {each} {metrics[each]:.4f}" for each in self.errors)
        return f"{name}  {self.measure.replace('_', ' ')} {score:.4f}{errors}"

    def keep(self, name: str) -> None:
        """Keep the live weights on disk, for blends."""
        if self.ranks.is_main:
            self.snapshots.keep(name, snapshot(self.live))

    def end_epoch(self, last: bool) -> None:
        """Go to the next epoch, or after the ``last`` one to the next phase."""
        phase, epoch = self.position.phase, self.position.epoch
        self.position = Position(phase + last, 0 if last else epoch + 1, 0, self.position.steps)


def rank(score: float | None, loss: float) -> tuple[float, float]:
    """The greater, the better: the score counts, and of equal scores the smaller loss."""
    worst = -math.inf
    known = worst if score is None or math.isnan(score) else score
    return known, worst if math.isnan(loss) else -loss


def snapshot(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, each in memory of its own: mapped ones share what lies side by side."""
    return {name: value.detach().cpu().clone() for name, value in tensors.items()}


@torch.no_grad()
def put(tensors: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    """Copy tensors in place, by name."""
    for name, value in tensors.items():
        into[name].copy_(value)


def write_state(saved: SavedState, path: Path) -> None:
    """Write ``saved`` whole; where there is no space (`DiskFull`), an earlier one stays."""
    buffer = io.BytesIO()
    # Plain dicts: what is loaded without unpickling classes must have none.
    torch.save({**vars(saved), "position": vars(saved.position), "best": vars(saved.best)}, buffer)
    write_whole(path, [buffer.getbuffer()])


def read_state(path: Path) -> SavedState:
    """Inverse of `write_state`; runs nothing that the file has; `Invalid` if damaged."""
    try:
        with open_regular(path, path) as file:
            raw = torch.load(file, map_location="cpu", weights_only=True)
        position, best = Position(**raw.pop("position")), Best(**raw.pop("best"))
        return SavedState(position=position, best=best, **raw)
    except Exception as error:  # the unpickler raises whatever it likes on damaged bytes
        raise Invalid(f"{path} cannot be read: {error}") from error


def saved_in(folder: Path, ranks: Ranks) -> SavedState | None:
    """What is saved in the folder of a run; None where there is nothing."""
    path = folder / STATE
    # The main rank may write one before another has looked.
    return read_state(path) if ranks.on_main(path.exists) else None
