"""The training loop: batches in, steps out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from zoo.domain.phase import Phase
from zoo.domain.recipe import Recipe
from zoo.errors import Diverged
from zoo.finetune.loop.ema import Average
from zoo.finetune.ranks.distributed import ALONE, Processes

__all__ = ["Batch", "Forward", "Learner", "Step", "autocast", "learn", "outputs"]

Forward = Callable[[Any], Tensor]
"""From what a batch holds to outputs (N, K): the whole network, or its part above a cut."""

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Batch(NamedTuple):
    """What the network is given, and what it should say: see `zoo.contracts.Head.loss`."""

    inputs: Any
    targets: Tensor
    images: int


class Step(NamedTuple):
    """What one step did: mean loss, the head's rate, images seen, and how many batches."""

    loss: float
    lr: float
    images: int
    batches: int


@dataclass
class Learner:
    """All that training moves, and how.

    Attributes:
        model: Frozen to the phase's depth, on the device to train on.
        optimizer: Over what is trainable.
        rates: Its schedule.
        loss: From outputs and targets to a scalar.
        recipe: Precision, accumulation, clipping.
        phase: The head's rate where the schedule's factor is 1.
        average: Of the weights, if one is kept.
        processes: Those that train together.
    """

    model: nn.Module
    optimizer: Optimizer
    rates: LambdaLR
    loss: nn.Module
    recipe: Recipe
    phase: Phase
    average: Average | None = None
    processes: Processes = ALONE

    def __post_init__(self) -> None:
        device = next(self.model.parameters()).device.type
        # Only half precision's range is so small that gradients need scaling.
        self.scaler = torch.amp.GradScaler(device, enabled=self.recipe.precision == "fp16")

    def precision(self) -> AbstractContextManager[Any]:
        """The context in which the network runs in the recipe's precision."""
        return autocast(self.model, self.recipe.precision)

    @property
    def rate(self) -> float:
        """The head's, now."""
        return self.phase.lr * float(self.rates.lr_lambdas[0](self.rates.last_epoch))

    def diverged(self) -> Diverged:
        """The error that says so, and which rate was too high."""
        phase, step = self.phase, self.rates.last_epoch
        if phase.own_rate:
            return Diverged(step, phase.lr, str(phase))
        return Diverged(step, self.recipe.lr)


def autocast(model: nn.Module, precision: str) -> AbstractContextManager[Any]:
    """The context in which ``model`` runs in ``precision``."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(next(model.parameters()).device.type, DTYPES[precision])


def learn(learner: Learner, batches: Iterable[Batch], forward: Forward) -> Iterator[Step]:
    """One pass over ``batches``; yields after each step, when the weights have moved.

    Raises:
        Diverged: The loss is no number any more.
    """
    learner.model.train()
    device = next(learner.model.parameters()).device
    for group in _grouped(batches, learner.recipe.accumulate):
        loss, images = 0.0, 0.0
        masses = [_mass(learner.loss, batch.targets.to(device)) for batch in group]
        whole = learner.processes.total(sum(masses), device)
        for batch, mass in zip(group, masses, strict=True):
            value = _add_gradients(learner, batch, forward, mass / whole)
            loss += learner.processes.total(value, device)
            images += learner.processes.total(batch.images, device)
        rate = learner.rate
        _step(learner)
        if not math.isfinite(loss):
            raise learner.diverged()
        yield Step(loss, rate, int(images), len(group))


def _add_gradients(learner: Learner, batch: Batch, forward: Forward, share: float) -> float:
    """Add those of this process's part of a batch, ``share`` of the step; its part of the loss."""
    alone = not batch.images  # a small last batch, of which others have all
    if alone and not learner.processes.sharded:
        return 0.0
    targets = batch.targets.to(next(learner.model.parameters()).device)
    with learner.precision():
        said = forward(batch.inputs)
    # Shares of weights are asked of all processes in every step, whatever images they have.
    value = said.float().sum() * 0 if alone else learner.loss(said.float(), targets) * share
    learner.scaler.scale(value).backward()
    return float(value.detach())


def _mass(loss: nn.Module, targets: Tensor) -> float:
    """What a mean over images divides by: their number, or that of their classes' weights."""
    weight = getattr(loss, "weight", None)
    if isinstance(weight, Tensor) and targets.dim() == 1:
        return float(weight[targets].sum())
    return float(len(targets))


def _grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _step(learner: Learner) -> None:
    parameters = [p for group in learner.optimizer.param_groups for p in group["params"]]
    learner.processes.add_up(parameters)
    learner.scaler.unscale_(learner.optimizer)
    if learner.recipe.clip_norm:
        nn.utils.clip_grad_norm_(parameters, learner.recipe.clip_norm)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    learner.optimizer.zero_grad(set_to_none=True)
    learner.rates.step()
    if learner.average:
        learner.average.update()


@torch.no_grad()
def outputs(
    model: nn.Module, batches: Iterable[Batch], forward: Forward, precision: str = "fp32"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs (N, K) float32 and targets of each batch, in eval mode, on the CPU."""
    model.eval()
    for batch in batches:
        with autocast(model, precision):
            said = forward(batch.inputs)
        yield said.float().cpu(), batch.targets
