"""Which parameters are trained, with which learning rates, and their schedule.

Every group has a true ``lr`` of its own, and one factor moves them all, so that the ratio of any
two is the same at every step.
"""

from __future__ import annotations

import difflib
import math
import re
from fnmatch import fnmatch
from typing import Any

import timm.optim
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from zoo.backbones.freeze import trainable_parameters
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.phase import Phase
from zoo.domain.recipe import ADAPTERS, Recipe
from zoo.errors import InvalidOption

__all__ = ["check_optimizer", "layer_decay", "make_optimizer", "parameter_groups", "schedule"]

Group = dict[str, Any]
"""Options of an optimizer, for some parameters."""
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
ONE_CYCLE_START = 1 / 25
"""First rate of one cycle as a share of its highest (Smith, "Super-Convergence", 2018)."""
ONE_CYCLE_END = ONE_CYCLE_START / 1e4
"""Last rate, likewise."""
POSITIONS = re.compile(
    r"(^|[._])pos(ition|itional)?_?emb(ed|edding|eddings)?_?\d*(\.weight)?$"
    r"|\.(relative_position_bias_table|rel_pos_[hw]|(height|width)_rel|attention_biases)$"
)
"""Names of tables with a row for each position, or distance of two."""
WARMUP = {"cosine": 0.1, "constant": 0.1, "one-cycle": 0.3}
"""Share of the steps in which rates rise, where the recipe does not say."""
FUSED = (torch.optim.Adam, torch.optim.AdamW)
"""Optimizers with a fused step. SGD's takes memory that was never written for its momentum if the
first scaled gradients overflow (torch 2.14)."""
SHARED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
"""Optimizers that move each weight by itself, so that each process can move its share."""
FUSED_ON = ("cpu", "cuda", "mps", "xpu")


def parameter_groups(
    model: nn.Module, hierarchy: Hierarchy, phase: Phase, recipe: Recipe
) -> list[Group]:
    """Groups over exactly the trainable parameters, each with ``lr`` and ``weight_decay``.

    The head has the phase's rate; a unit at depth d of D has ``backbone_lr * decay ** (D - 1 - d)``
    (layer-wise decay: Clark et al., ELECTRA, ICLR 2020), and one of which a small part is trained
    all of it. For weight decay see `_shrinking`.
    """
    depth = {name: unit.depth for unit in hierarchy.units for name in unit.parameters}
    decay = 1.0 if recipe.strategy in ADAPTERS else layer_decay(model, recipe)
    shrinking = _shrinking(model)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trainable_parameters(model):
        if name in depth:
            rate = phase.backbone_lr * decay ** (len(hierarchy.units) - 1 - depth[name])
        else:
            rate = phase.lr
        shrinks = recipe.weight_decay if parameter in shrinking else 0.0
        groups.setdefault((rate, shrinks), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": shrink}
        for (rate, shrink), parameters in groups.items()
    ]


def _shrinking(model: nn.Module) -> set[nn.Parameter]:
    """What weight decay applies to: not norms, biases, scales, tables of positions, and what the
    network itself exempts.

    Norms, biases and scales are vectors, whatever their shape: a scale of channels may be (C, 1,
    1), a token (1, 1, C). A layer with one output has weights of such a shape, too. Tables of
    positions are recognized by their names: networks of torchvision and transformers do not say so
    themselves, as those of timm do.
    """
    exempt = tuple(getattr(model, "no_weight_decay", tuple)())  # names, or patterns as of a shell
    kernels = {layer.weight for layer in model.modules() if isinstance(layer, LAYERS)}
    return {
        parameter
        for name, parameter in model.named_parameters()
        if parameter in kernels
        or (sum(size > 1 for size in parameter.shape) > 1 and not POSITIONS.search(name))
        if not name.endswith(".bias") and not any(fnmatch(name, pattern) for pattern in exempt)
    }


def layer_decay(model: nn.Module, recipe: Recipe) -> float:
    """The recipe's, else 0.75 for networks with attention and 0.9 for all others."""
    if recipe.layer_decay is not None:
        return recipe.layer_decay
    attends = any("attention" in type(child).__name__.lower() for child in model.modules())
    return 0.75 if attends else 0.9


def check_optimizer(recipe: Recipe, device: str, *, sharded: bool) -> None:
    """Let the recipe's optimizer take a step, so that it cannot fail when work has begun.

    Raises:
        InvalidOption: There is none of that name, or none that can be used here.
    """
    parameter = nn.Parameter(torch.ones(2, 2, device=device))
    parameter.grad = torch.ones_like(parameter)
    try:
        optimizer = make_optimizer([{"params": [parameter], "lr": recipe.lr}], recipe)
        optimizer.step()
    except (AssertionError, ImportError, RuntimeError, TypeError, ValueError) as error:
        raise InvalidOption(
            f"the optimizer {recipe.optimizer} cannot be used here: {error}"
        ) from error
    if sharded and type(optimizer) not in SHARED:
        raise InvalidOption(
            f"the optimizer {recipe.optimizer} needs whole weights, and with FSDP processes share "
            "them: take adamw, adam or sgd"
        )


def make_optimizer(groups: list[Group], recipe: Recipe) -> Optimizer:
    """The optimizer of that name in timm's list.

    Raises:
        InvalidOption: There is none, or it needs more than gradients.
    """
    name, known = recipe.optimizer, list(map(str, timm.optim.list_optimizers()))
    if name == "lbfgs" or (name in known and timm.optim.get_optimizer_info(name).second_order):
        raise InvalidOption(
            f"the optimizer {name} needs more than a batch's gradients (second derivatives, or the "
            "loss again within a step), and training here gives no more: take adamw, sgd or lamb"
        )
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"; near: {', '.join(near)}" if near else ""
        raise InvalidOption(f"timm has no optimizer '{name}'{hint}")
    # One pass over the memory of a step instead of eight: without it, AdamW takes up to a sixth of
    # the time of a training from a cut.
    kind = timm.optim.get_optimizer_info(name).opt_class
    fused = kind in FUSED and groups[0]["params"][0].device.type in FUSED_ON
    options: Group = {"fused": True} if fused else {}
    optimizer: Optimizer = timm.optim.create_optimizer_v2(
        groups, name, recipe.lr, recipe.weight_decay, **options
    )
    return optimizer


def schedule(optimizer: Optimizer, steps: int, recipe: Recipe) -> LambdaLR:
    """The recipe's course over so many optimizer steps, as one factor for all groups."""
    rise = WARMUP[recipe.schedule] if recipe.warmup is None else recipe.warmup
    warm = max(round(steps * rise), 1) if rise else 0

    def factor(step: int) -> float:
        if recipe.schedule == "one-cycle":
            return _one_cycle(step, max(steps, 1), rise)
        if step < warm:
            return (step + 1) / warm
        if recipe.schedule == "constant":
            return 1.0
        return _cosine(1.0, 0.0, (step - warm) / max(steps - warm, 1))

    return LambdaLR(optimizer, factor)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def _one_cycle(step: int, steps: int, rise: float) -> float:
    """As `torch.optim.lr_scheduler.OneCycleLR` has it, which takes no steps beyond the last."""
    highest, last = rise * steps - 1, steps - 1
    if not last:
        return 1.0  # one step alone
    if step < highest:
        return _cosine(ONE_CYCLE_START, 1.0, step / highest)
    return _cosine(1.0, ONE_CYCLE_END, (step - highest) / (last - highest))
