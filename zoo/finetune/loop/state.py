"""The state of a training that was cut off: all that it needs to go on to the same bits."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.errors import Invalid
from zoo.finetune.loop.learner import Learner
from zoo.store.atomic import write_whole
from zoo.store.regular import open_regular

__all__ = ["Best", "Position", "State", "rank", "read_state", "write_state"]


@dataclass
class Position:
    """How far a training is: in which phase and epoch, and after how many of its batches.

    Attributes:
        phase: Index of the phase.
        epoch: Within the phase.
        batch: Batches of that epoch that are done.
        steps: Steps since the training began.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    steps: int = 0


@dataclass
class Best:
    """The best weights so far.

    Attributes:
        name: What made them: ``probe``, or ``epoch 3``, or ``average of epoch 3``.
        score: On the validation split; None where there is none.
        loss: Likewise.
        since: Epochs that brought no better score.
        tensors: What training has moved, by name.
    """

    name: str = ""
    score: float | None = None
    since: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)
    loss: float = math.nan  # states of older versions have none

    @property
    def rank(self) -> tuple[float, float]:
        """What the better one has more of; see `rank`."""
        return rank(self.score, self.loss)


@dataclass
class State:
    """A training between two steps.

    Attributes:
        position: Where it is.
        best: The best so far.
        tensors: What training moves, by name.
        learner: Optimizer, schedule, gradient scaler and average; None between phases.
        random: States of the random number generators of each process.
    """

    position: Position
    best: Best
    tensors: dict[str, Tensor]
    learner: dict[str, Any] | None = None
    random: list[dict[str, Tensor]] = field(default_factory=list)


def rank(score: float | None, loss: float) -> tuple[float, float]:
    """The greater, the better: the score counts, and of equal scores the smaller loss."""
    worst = -math.inf
    known = worst if score is None or math.isnan(score) else score
    return known, worst if math.isnan(loss) else -loss


def learner_state(learner: Learner) -> dict[str, Any]:
    """What `restore_learner` needs."""
    average = learner.average
    return {
        "optimizer": learner.optimizer.state_dict(),
        "rates": {"last_epoch": learner.rates.last_epoch, "last": learner.rates.get_last_lr()},
        "scaler": learner.scaler.state_dict(),
        "average": {"values": average.values, "updates": average.updates} if average else None,
    }


def restore_learner(learner: Learner, kept: dict[str, Any]) -> None:
    """Bring a learner that was made anew to where ``kept`` was taken."""
    made = learner.optimizer.param_groups
    for group, saved in zip(made, kept["optimizer"]["param_groups"], strict=True):
        saved["fused"] = group.get("fused")  # how a step is done is no part of where it is
    states = kept["optimizer"]["state"]
    moved = [parameter for group in made for parameter in group["params"]]
    for at, state in states.items():
        states[at] = {
            name: learner.processes.like(value, moved[at]) for name, value in state.items()
        }
    learner.optimizer.load_state_dict(kept["optimizer"])
    learner.rates.last_epoch = kept["rates"]["last_epoch"]
    learner.rates._last_lr = kept["rates"]["last"]
    learner.scaler.load_state_dict(kept["scaler"])
    if learner.average:
        learner.average.updates = kept["average"]["updates"]
        for name, value in kept["average"]["values"].items():
            mean = learner.average.values[name]
            mean.copy_(learner.processes.like(value, mean))


def random_state() -> dict[str, Tensor]:
    """The generators that dropout draws from."""
    found = {"cpu": torch.random.get_rng_state()}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def restore_random(kept: dict[str, Tensor]) -> None:
    """Set the generators that `random_state` saw."""
    torch.random.set_rng_state(kept["cpu"])
    if "cuda" in kept and torch.cuda.is_available():
        torch.cuda.set_rng_state(kept["cuda"])


def write_state(state: State, path: Path) -> None:
    """Write ``state`` whole, in the place of an earlier one.

    Raises:
        DiskFull: There is no space; the earlier one is as it was.
    """
    buffer = io.BytesIO()
    torch.save({**vars(state), "position": vars(state.position), "best": vars(state.best)}, buffer)
    write_whole(path, [buffer.getbuffer()])


def read_state(path: Path) -> State:
    """Inverse of `write_state`; runs nothing that the file holds.

    Raises:
        Invalid: It is damaged.
    """
    try:
        with open_regular(path, path) as file:
            raw = torch.load(file, map_location="cpu", weights_only=True)
        position, best = Position(**raw.pop("position")), Best(**raw.pop("best"))
        return State(position=position, best=best, **raw)
    except Exception as error:  # the unpickler raises whatever it likes on damaged bytes
        raise Invalid(f"{path} cannot be read: {error}") from error
