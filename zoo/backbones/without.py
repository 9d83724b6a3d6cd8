"""Take a unit out of the middle of a network, if it is proven that the rest can do without.

A residual unit adds a correction to what it gets: x + f(x). Left out, it hands on x, which is what
later units were trained to refine (Huang et al. 2016, Deep networks with stochastic depth, drop
such units at random). What shows that a unit is one is that it gives back its input when all of
its weights are zero: then f is zero, however the code is written.
"""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from zoo.backbones.freeze import parametric
from zoo.domain.hierarchy import Hierarchy, InputSize, Unit
from zoo.errors import InvalidOption, Unsupported

__all__ = ["PassThrough", "check_removable", "exact_unit", "take_out"]

SPELT_OUT = 4
"""Most units of a stage that a message names one by one."""


class PassThrough(nn.Module):
    """In the place of a unit that was taken out: gives back its first argument."""

    def forward(self, features: Tensor, *_: object, **__: object) -> Tensor:
        """``features`` as they are."""
        return features


def exact_unit(hierarchy: Hierarchy, name: str) -> Unit:
    """The unit of just this name: one unit is taken out, so nothing that means several is one.

    Raises:
        InvalidOption: It is the name of a stage; the message lists its units.
        UnknownName: There is none; near names are suggested.
    """
    within = [unit.name for unit in hierarchy.units if unit.stage == name]
    if within and name not in within:
        if len(within) > SPELT_OUT:
            within[2:-1] = ["…"]
        raise InvalidOption(f"{name} is a stage of {', '.join(within)}: name one unit")
    return hierarchy.find(name, stages=False)


def take_out(module: nn.Module, unit: Unit) -> None:
    """Let what enters ``unit`` pass it by; names of the rest stay as they are."""
    module.set_submodule(_block(module, unit), PassThrough())


@torch.no_grad()
def check_removable(module: nn.Module, unit: Unit, input_size: InputSize) -> None:
    """See that ``unit`` keeps shapes and is residual, by running it.

    ``module`` is on the meta device, ``input_size`` (C, H, W) one that it takes.

    Raises:
        Unsupported: It cannot be removed; the message says why.
    """
    path = _block(module, unit)
    block = module.get_submodule(path)
    runs: list[tuple[tuple[object, ...], dict[str, object], object]] = []
    with block.register_forward_hook(
        lambda _, args, kwargs, output: runs.append((args, kwargs, output)), with_kwargs=True
    ):
        module.eval()(torch.zeros(1, *input_size, device="meta"))
    if len(runs) != 1:
        raise _refused(unit, f"it runs {len(runs)} times")
    args, kwargs, output = runs[0]
    if not args or not isinstance(args[0], Tensor) or not isinstance(output, Tensor):
        raise _refused(unit, "its input or output is not a single tensor")
    block_input = args[0]
    if block_input.shape != output.shape:
        before, after = ("x".join(map(str, t.shape)) for t in (block_input, output))
        raise _refused(unit, f"it turns {before} into {after}, and what follows needs that")
    if block_input.dtype != output.dtype or not _is_residual(block, block_input, args[1:], kwargs):
        raise _refused(
            unit, "it is not a residual unit: with its weights at zero, its output is not its input"
        )


def _is_residual(
    block: nn.Module, block_input: Tensor, rest: tuple[object, ...], kwargs: dict[str, object]
) -> bool:
    """Whether ``block``, with zeros for weights, gives back its first argument."""
    blank = copy.deepcopy(block).to_empty(device="cpu")
    for tensor in (*blank.parameters(), *blank.buffers()):
        tensor.zero_()
    zeros = partial(torch.zeros_like, device="cpu")
    rest, kwargs = tree_map_only(Tensor, zeros, (rest, kwargs))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(block_input.shape, generator=generator).to(block_input.dtype)
    # Where an activation follows the addition, what enters has been through one as well.
    for entered in (noise, noise.abs()):
        leaves = tree_leaves(blank(entered.clone(), *rest, **kwargs))
        if len(leaves) == 1 and torch.equal(leaves[0], entered):
            return True
    return False


def _block(module: nn.Module, unit: Unit) -> str:
    """The one module of ``unit`` that has parameters."""
    layers = parametric(module, unit.modules)
    if len(layers) != 1:
        raise _refused(unit, f"it is made of {', '.join(layers)}, one after the other")
    return layers[0]


def _refused(unit: Unit, reason: str) -> Unsupported:
    return Unsupported(f"{unit.name} cannot be removed: {reason}")
