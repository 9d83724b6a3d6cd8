"""Find a learning rate: train a few steps with ever larger rates, and take all of it back.

The range test of Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, which
takes the largest rate up to which training still gains: here that of the least loss. The loss is
smoothed to both sides, which moves no minimum; a mean of the past would be late by a factor of 4.
Where the loss falls fastest says nothing of a head that was fitted before: it is flat, then falls
late, and noise at low rates is steeper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from pathlib import Path
from statistics import fmean
from typing import Self

import torch
from torch.optim.lr_scheduler import LambdaLR

from zoo.backbones.devices import random_kept
from zoo.domain.progress import Progress
from zoo.domain.result import Result
from zoo.errors import Diverged
from zoo.finetune.features.loaders import Loader
from zoo.finetune.loop.learner import Learner, Step
from zoo.finetune.loop.train import learn, read

__all__ = ["LRCurve", "search"]

LOWEST, HIGHEST = 1e-6, 1.0
SMOOTHING = 0.9
"""Of the running mean, by which the test ends."""
TOO_HIGH = 4.0
"""A running mean of so many times the least one ends the test."""
WIDTH = 0.04
"""Of the normal curve that smooths the losses, as a share of all steps: a rate and 1.7 times it."""
CLEAR = 1.0
"""The loss falls if it does by so many times what single steps scatter by."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LRCurve(Result):
    """What the test saw.

    Attributes:
        suggestion: The rate at which the loss was least; None: it fell no further than it scatters.
        phase: Whose own rate that is (``all:2``); empty: it is the recipe's.
        rates: Of the head, ascending; other groups had theirs in proportion.
        losses: Smoothed, one for each rate.
        scatter: By how much those of single steps do, before the loss falls.
        folder: Where ``rates.csv`` and ``rates.png`` are; None in a zoo that may only be read.
    """

    suggestion: float | None
    phase: str = ""
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    scatter: float = 0.0
    folder: Path | None = None

    def scaled(self, factor: float) -> Self:
        """The same with all rates times ``factor``."""
        rates = tuple(rate * factor for rate in self.rates)
        suggestion = None if self.suggestion is None else self.suggestion * factor
        return replace(self, rates=rates, suggestion=suggestion)


def search(learner: Learner, loader: Loader, progress: Progress, *, steps: int = 100) -> LRCurve:
    """Try rates of the head from 1e-6 to 1, each for one step of training as it would be done.

    Weights, buffers, optimizer and random number generators are afterwards as they were, to the
    bit. ``steps`` is how many rates are tried.
    """
    rates: list[float] = []
    losses: list[float] = []
    mean, least = 0.0, math.inf
    with (
        _untouched(learner),
        progress("finding the learning rate", steps) as task,
        suppress(Diverged),
    ):
        for number, step in enumerate(islice(_steps(learner, loader, steps), steps), 1):
            (loss,) = read(learner, [step])
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            smoothed = mean / (1 - SMOOTHING**number)
            if smoothed > TOO_HIGH * least:
                break
            least = min(least, smoothed)
            rates.append(step.lr)
            losses.append(loss)
            task.advance(note=f"rate {step.lr:.1e}, loss {smoothed:.3f}")
    return _curve(rates, losses, WIDTH * steps)


def _steps(learner: Learner, loader: Loader, steps: int) -> Iterator[Step]:
    """Training without end, at rates that rise from step to step."""

    def factor(number: int) -> float:
        rate = LOWEST * (HIGHEST / LOWEST) ** (number / max(steps - 1, 1))
        return float(rate / learner.phase.lr)

    trial = replace(learner, scheduler=LambdaLR(learner.optimizer, factor), ema=None)
    batches = chain.from_iterable(loader.epoch(number) for number in count())
    return learn(trial, batches, loader.forward)


def _curve(rates: list[float], losses: list[float], width: float) -> LRCurve:
    """What losses of single steps say."""
    smoothed = [_weighted(losses, at, width) for at in range(len(losses))]
    begin = max(len(losses) // 3, 1)
    pairs = list(zip(losses, smoothed, strict=True))[:begin]
    scatter = math.sqrt(fmean((loss - mean) ** 2 for loss, mean in pairs)) if pairs else 0.0
    fall = fmean(smoothed[:begin]) - min(smoothed) if pairs else 0.0
    clear = fall > CLEAR * scatter
    return LRCurve(
        suggestion=rates[smoothed.index(min(smoothed))] if clear else None,
        rates=tuple(rates),
        losses=tuple(smoothed),
        scatter=scatter,
    )


def _weighted(losses: list[float], at: int, width: float) -> float:
    """The mean of losses by their nearness to one of them."""
    weights = [math.exp(-(((at - other) / width) ** 2) / 2) for other in range(len(losses))]
    return sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)


@contextmanager
def _untouched(learner: Learner) -> Iterator[None]:
    model, optimizer = learner.model, learner.optimizer
    tensors = [*model.parameters(), *model.buffers()]
    before = [value.detach().clone() for value in tensors]
    modes = {child: child.training for child in model.modules()}
    state = deepcopy(optimizer.state_dict())  # which refers to the very tensors that steps change
    try:
        with random_kept(learner.device):
            yield
    finally:
        with torch.no_grad():
            for value, old in zip(tensors, before, strict=True):
                value.copy_(old)
        optimizer.zero_grad(set_to_none=True)
        optimizer.load_state_dict(state)
        for child, training in modes.items():
            child.training = training
