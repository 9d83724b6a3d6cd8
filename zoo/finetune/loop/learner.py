"""Learner: the network of a phase with its optimizer, scheduler, gradient scaler and EMA.

An EMA is an exponential moving average of what is trained. Only of that: averaging a frozen weight
with itself moves its last bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from zoo.backbones.freeze import trainable_parameters
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.phase import Phase
from zoo.domain.recipe import Recipe
from zoo.finetune.features.loaders import Loader, Loaders
from zoo.finetune.ranks.ranks import ALONE, Ranks
from zoo.finetune.setup.optimizer import make_optimizer, parameter_groups, schedule
from zoo.finetune.setup.prepare import PreparedRun

__all__ = ["EMA", "Learner", "Step", "between", "live_tensors", "make_learner"]

StateDict = dict[str, Any]
"""What `Learner.state_dict` gives: tensors and numbers, nested."""


class Step(NamedTuple):
    """What one step did: its number in the phase, from 1; the mean loss, on the device; the head's
    rate, images seen, and how many batches.
    """

    number: int
    loss: Tensor
    lr: float
    images: int
    batches: int


@dataclass
class Learner:
    """All that training moves, and how."""

    model: nn.Module  # frozen to the phase's depth, on the device to train on
    optimizer: Optimizer  # over what is trainable
    scheduler: LambdaLR  # one factor for the learning rates of all groups
    loss: nn.Module  # from outputs and targets to a scalar
    recipe: Recipe
    phase: Phase  # has the head's rate where the scheduler's factor is 1
    ema: EMA | None = None
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        # Only half precision's range is so small that gradients need scaling.
        enabled = self.recipe.precision == "fp16"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=enabled)
        # Not as the optimizer has them, by rate: a backward pass comes to them from the end.
        self.in_order = [parameter for _, parameter in trainable_parameters(self.model)]
        weights = getattr(self.loss, "weight", None)
        # On the CPU, where targets are: a sum of them on an accelerator would be waited for.
        self.class_weights = weights.cpu() if isinstance(weights, Tensor) else None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What the optimizer moves."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def lr(self) -> float:
        """The head's, now."""
        return self.phase.lr * float(self.scheduler.lr_lambdas[0](self.scheduler.last_epoch))

    def state_dict(self) -> StateDict:
        """What `load_state_dict` needs, without the weights. The keys are a format on disk."""
        scheduler, ema = self.scheduler, self.ema
        return {
            "optimizer": self.optimizer.state_dict(),
            "rates": {"last_epoch": scheduler.last_epoch, "last": scheduler.get_last_lr()},
            "scaler": self.scaler.state_dict(),
            "average": {"values": ema.values, "updates": ema.updates} if ema else None,
        }

    def load_state_dict(self, saved: StateDict) -> None:
        """Go to where ``saved`` was taken."""
        optimizer, parameters = saved["optimizer"], self.parameters
        for group, old in zip(self.optimizer.param_groups, optimizer["param_groups"], strict=True):
            old["fused"] = group.get("fused")  # how a step is done is no part of where it is
        for at, state in optimizer["state"].items():
            for name, value in state.items():
                state[name] = _lying_as(self.ranks.like(value, parameters[at]), parameters[at])
        self.optimizer.load_state_dict(optimizer)
        # Not its `load_state_dict`: only these two move, and states on disk have no more.
        self.scheduler.last_epoch = saved["rates"]["last_epoch"]
        self.scheduler._last_lr = saved["rates"]["last"]
        self.scaler.load_state_dict(saved["scaler"])
        if self.ema:
            self.ema.updates = saved["average"]["updates"]
            for name, value in saved["average"]["values"].items():
                mean = self.ema.values[name]
                mean.copy_(self.ranks.like(value, mean))


def make_learner(
    prepared: PreparedRun, phase: Phase, boundary: int, loaders: Loaders
) -> tuple[Learner, Loader]:
    """What trains the network, or a sharded copy of it, through ``phase``; and on what."""
    hierarchy, recipe, ranks = prepared.hierarchy, prepared.recipe, prepared.ranks
    model = ranks.shard(prepared.model, hierarchy, loaders.cut, recipe.precision)
    loader = loaders.train if model is prepared.model else loaders.train.into(model)
    optimizer = make_optimizer(parameter_groups(model, hierarchy, phase, recipe), recipe)
    steps = phase.epochs * -(-len(loader) // recipe.accumulate)
    scheduler = schedule(optimizer, steps, recipe)
    live = live_tensors(model, hierarchy, boundary, prepared.tuned)
    ema = EMA(live, recipe.ema) if recipe.ema else None
    return Learner(model, optimizer, scheduler, prepared.loss, recipe, phase, ema, ranks), loader


def _lying_as(value: Any, parameter: nn.Parameter) -> Any:
    """A tensor of an optimizer's state, in the memory format that a fused step wants: that of its
    parameter. Where it was saved, that may have been another one.
    """
    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    if value.stride() == parameter.stride():
        return value
    return torch.empty_strided(value.shape, parameter.stride(), dtype=value.dtype).copy_(value)


def live_tensors(
    model: nn.Module, hierarchy: Hierarchy, boundary: int, tuned: frozenset[str] | None
) -> dict[str, Tensor]:
    """What training above ``boundary`` moves: parameters and buffers outside the frozen units; of
    their parameters those that are ``tuned``, if that is said.
    """
    still = {n for unit in hierarchy.units[:boundary] for n in (*unit.parameters, *unit.buffers)}
    if tuned is not None:
        still |= {n for unit in hierarchy.units for n in unit.parameters} - tuned
    named = (*model.named_parameters(), *model.named_buffers())
    return {name: value for name, value in named if name not in still}


def between(one: Tensor, other: Tensor, share: float) -> Tensor:
    """What lies ``share`` of the way from ``one`` to ``other``; equal values stay, infinite ones
    too, which some networks have as limits.
    """
    return torch.where(one == other, one, torch.lerp(one, other, share))


class EMA:
    """Averages of tensors that are trained in place: parameters, and buffers that training moves.

    Of each average, ``decay`` (0 to 1) stays at each update, in the long run. Early on it is less,
    so that the average of a short run is not that of its first steps (the rule of TensorFlow's
    ``ExponentialMovingAverage``: at most (1 + updates) / (10 + updates)).
    """

    def __init__(self, live: Mapping[str, Tensor], decay: float) -> None:
        self.live, self.decay, self.updates = live, decay, 0
        self.values = {name: value.detach().clone() for name, value in live.items()}
        moving = {name for name, value in live.items() if value.is_floating_point()}
        # Some networks have infinite values as limits, and these stay what they are.
        self._limits = {name for name in moving if not live[name].isfinite().all()}
        self._finite = sorted(moving - self._limits)

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards what the tensors are now; whole numbers are copied."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        # All at once: on an accelerator, to begin takes longer than to compute.
        if means := [self.values[name] for name in self._finite]:
            torch._foreach_lerp_(means, [self.live[name] for name in self._finite], 1 - decay)
        for name in self.live.keys() - set(self._finite):
            value, mean = self.live[name], self.values[name]
            mean.copy_(between(mean, value, 1 - decay) if name in self._limits else value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While open, the tensors hold their averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        # In place: the optimizer, and a compiled network, refer to these very tensors.
        for name, value in self.live.items():
            live = value.clone()
            value.copy_(self.values[name])
            self.values[name].copy_(live)
