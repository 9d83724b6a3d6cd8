"""Find a learning rate: train a few steps with ever larger rates, and take all of it back.

The range test of Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from pathlib import Path
from typing import Self

import torch
from torch.optim.lr_scheduler import LambdaLR

from zoo.domain.progress import Progress
from zoo.domain.result import Result
from zoo.errors import Diverged
from zoo.finetune.features.loaders import Loader
from zoo.finetune.loop.learner import Learner, Step
from zoo.finetune.loop.train import learn

__all__ = ["LRCurve", "search"]

LOWEST, HIGHEST = 1e-6, 1.0
SMOOTHING = 0.9
TOO_HIGH = 4.0
"""A loss of so many times the least one ends the test."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LRCurve(Result):
    """What the test saw.

    Attributes:
        suggestion: The rate at which the loss fell fastest.
        phase: Whose own rate that is (``all:2``); empty: it is the recipe's.
        rates: Of the head, ascending; other groups had theirs in proportion.
        losses: Smoothed, one for each rate.
        folder: Where ``rates.csv`` and ``rates.png`` are; None in a zoo that may only be read.
    """

    suggestion: float
    phase: str = ""
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    folder: Path | None = None

    def scaled(self, factor: float) -> Self:
        """The same with all rates times ``factor``."""
        rates = tuple(rate * factor for rate in self.rates)
        return replace(self, rates=rates, suggestion=self.suggestion * factor)


def search(learner: Learner, loader: Loader, progress: Progress, *, steps: int = 100) -> LRCurve:
    """Try rates of the head from 1e-6 to 1, each for one step of training as it would be done.

    Weights, buffers, optimizer and random number generators are afterwards as they were, to the
    bit. ``steps`` is how many rates are tried.
    """
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    with (
        _untouched(learner),
        progress("finding the learning rate", steps) as task,
        suppress(Diverged),
    ):
        for number, step in enumerate(islice(_steps(learner, loader, steps), steps), 1):
            mean = SMOOTHING * mean + (1 - SMOOTHING) * step.loss
            smoothed = mean / (1 - SMOOTHING**number)
            if losses and smoothed > TOO_HIGH * min(losses):
                break
            rates.append(step.lr)
            losses.append(smoothed)
            task.advance(note=f"rate {step.lr:.1e}, loss {smoothed:.3f}")
    return LRCurve(suggestion=_steepest(rates, losses), rates=tuple(rates), losses=tuple(losses))


def _steps(learner: Learner, loader: Loader, steps: int) -> Iterator[Step]:
    """Training without end, at rates that rise from step to step."""

    def factor(number: int) -> float:
        rate = LOWEST * (HIGHEST / LOWEST) ** (number / max(steps - 1, 1))
        return float(rate / learner.phase.lr)

    trial = replace(learner, scheduler=LambdaLR(learner.optimizer, factor), ema=None)
    batches = chain.from_iterable(loader.epoch(number) for number in count())
    return learn(trial, batches, loader.forward)


def _steepest(rates: list[float], losses: list[float]) -> float:
    """Where the loss falls fastest over the logarithm of the rate, before its least value."""
    if len(rates) < 3:
        return rates[0] if rates else LOWEST
    least = max(losses.index(min(losses)), 1)
    slopes = [losses[at] - losses[at - 1] for at in range(1, least + 1)]
    return rates[slopes.index(min(slopes)) + 1]


@contextmanager
def _untouched(learner: Learner) -> Iterator[None]:
    model, optimizer = learner.model, learner.optimizer
    tensors = [*model.parameters(), *model.buffers()]
    before = [value.detach().clone() for value in tensors]
    modes = {child: child.training for child in model.modules()}
    state = deepcopy(optimizer.state_dict())  # which refers to the very tensors that steps change
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            yield
    finally:
        with torch.no_grad():
            for value, old in zip(tensors, before, strict=True):
                value.copy_(old)
        optimizer.zero_grad(set_to_none=True)
        optimizer.load_state_dict(state)
        for child, training in modes.items():
            child.training = training
