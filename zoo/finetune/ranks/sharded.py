"""A network whose weights, gradients and optimizer's state are spread over the processes (FSDP).

It is a copy that takes the steps. The network itself stays whole in each process, so that what only
the first one does (measure, blend, keep, publish) is done in one way.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from accelerate import FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

from zoo import config
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.recipe import ADAPTERS, Recipe
from zoo.errors import InvalidOption, Unsupported
from zoo.finetune.ranks.ranks import Distributed

__all__ = ["Sharded", "settings", "shard", "whole"]

T = TypeVar("T")

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
IN_BF16 = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
"""Of weights that autocast rounds to bf16 wherever they are used: rounded before they are gathered,
they are the same."""


def settings() -> dict[str, bool]:
    """What accelerate's settings say of FSDP and is heeded here, for `torch`'s ``fully_shard``.

    Raises:
        Unsupported: They ask for what is not supported.
    """
    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise Unsupported(
            f"FSDP needs a newer torch than {torch.__version__}: 2.14 is known to work"
        )
    if (fsdp_version := config.fsdp_version()) != 2:
        raise Unsupported(
            f"FSDP of version {fsdp_version} is not supported, version 2 is: accelerate to-fsdp2 "
            "converts your config"
        )
    try:
        plugin = FullyShardedDataParallelPlugin()
    except ValueError as error:
        raise Unsupported(f"accelerate's settings of FSDP: {error}") from error
    if isinstance(plugin.cpu_offload, CPUOffloadPolicy):
        raise Unsupported("FSDP keeps weights on the devices here: leave fsdp_offload_params out")
    if plugin.activation_checkpointing:
        raise Unsupported(
            "leave fsdp_activation_checkpointing out: --grad-checkpointing does the same here"
        )
    return {"reshard_after_forward": bool(plugin.reshard_after_forward)}


@dataclass(frozen=True, slots=True)
class Sharded(Distributed):
    """One of several processes, each with a shard of the weights."""

    sharded: bool = True

    @contextmanager
    def summing(self, parameters: Sequence[nn.Parameter], *, early: bool) -> Iterator[None]:
        """Nothing: those of shards are added up in the backward pass."""
        del parameters, early
        yield

    def check(self, recipe: Recipe, model: nn.Module) -> None:
        """Refuse what cannot be sharded: a compiled network, units of which a part is trained,
        gradients elsewhere (SAM), synced batch norms, or a weight that is one number.
        """
        if recipe.strategy in ADAPTERS:
            raise InvalidOption(
                f"the strategy {recipe.strategy} trains next to nothing, and shards (FSDP) save no "
                "memory then: use MULTI_GPU"
            )
        if recipe.compile:
            raise InvalidOption("nothing is compiled where processes share the weights (FSDP)")
        if recipe.sam:
            raise InvalidOption("no SAM where processes share the weights (FSDP): use MULTI_GPU")
        if recipe.batch_norm == "synced":
            raise InvalidOption(
                "no synced batch norm where processes share the weights (FSDP): use MULTI_GPU"
            )
        if single := [name for name, parameter in model.named_parameters() if not parameter.dim()]:
            raise Unsupported(
                f"FSDP cannot shard scalars, and this network has {single[0]}: use MULTI_GPU"
            )

    def shard(self, model: nn.Module, hierarchy: Hierarchy, cut: int, precision: str) -> nn.Module:
        """See `Ranks.shard`."""
        self.wait()  # what the main rank did alone may have taken longer than a step may
        return shard(model, hierarchy, cut, lower=precision == "bf16")

    @torch.no_grad()
    def collect(self, model: nn.Module, into: Mapping[str, Tensor]) -> None:
        """See `Ranks.collect`."""
        self.wait()  # what the main rank did alone may have taken long
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if name in into:
                into[name].copy_(whole(value))

    def full(self, state: T) -> T:
        """See `Ranks.full`. One tensor at a time is whole on the device."""

        def one(value: DTensor) -> Tensor | None:
            full = value.full_tensor()
            return full.cpu() if self.is_main else None

        return cast(T, tree_map_only(DTensor, one, state))

    def like(self, value: T, shard: Tensor) -> T:
        """See `Ranks.like`."""
        if isinstance(shard, DTensor) and isinstance(value, Tensor) and value.shape == shard.shape:
            local = value.to(shard.device)
            return cast(T, distribute_tensor(local, shard.device_mesh, shard.placements))
        return value


def shard(model: nn.Module, hierarchy: Hierarchy, cut: int, *, lower: bool = False) -> nn.Module:
    """A copy of ``model`` of which each process holds its share, unit by unit.

    All processes call this together, with the same weights, on the device to train on. Units below
    the ``cut`` never run: the copy has the very tensors of ``model`` there. ``lower``: it runs in
    bf16 (autocast), and weights that are bf16 there are gathered so; shards, and gradients as they
    are added up, are of fp32.
    """
    gc.collect()  # an earlier copy refers to itself, and would lie beside this one
    below = {n for unit in hierarchy.units[:cut] for n in (*unit.parameters, *unit.buffers)}
    named = (*model.named_parameters(), *model.named_buffers())
    # From the host: each group moves to the device as it is shared out.
    copy = deepcopy(model, {id(t): t if name in below else _on_the_host(t) for name, t in named})
    device = next(model.parameters()).device.type
    everyone = dist.group.WORLD
    assert everyone is not None
    mesh = DeviceMesh.from_group(everyone, device)
    split = partial(fully_shard, mesh=mesh, **settings())
    for module in _groups(copy, hierarchy, cut):
        for part in _rounded(module) if lower else ():
            if others := _others(part):
                split(others)
            split(part, mp_policy=IN_BF16)
        if not isinstance(module, FSDPModule):
            split(module)
    frozen = {p for n, p in copy.named_parameters() if n in below}
    split(copy, ignored_params=frozen)
    for module in copy.modules():
        if isinstance(module, FSDPModule):
            # Losses are each process's share of the batch's: gradients are summed, no mean of them.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return copy


def _groups(model: nn.Module, hierarchy: Hierarchy, cut: int) -> list[nn.Module]:
    """The modules of units whose weights are gathered when they are called.

    Containers are never called, and weights that two modules share are asked for by both: these go
    with the whole network.
    """
    above = (path for unit in hierarchy.units[cut:] for path in unit.modules)
    modules = [model.get_submodule(path) for path in (*above, *hierarchy.head.modules)]
    holders = Counter(parameter for module in modules for parameter in module.parameters())
    return [
        module
        for module in modules
        if type(module).forward is not nn.Module.forward
        if {holders[parameter] for parameter in module.parameters()} == {1}
    ]


def _rounded(unit: nn.Module) -> list[nn.Module]:
    """The modules of a unit whose layers' weights are gathered in bf16, their other weights apart:
    the unit itself, or its children that can be.

    Others are those of norms, and factors. A module that has some beside layers below it may use
    the weights of these itself, as `torch.nn.MultiheadAttention` does, and is left in fp32 whole.
    """

    def can_be(module: nn.Module) -> bool:
        mixed = any(list(child.parameters()) for o in _others(module) for child in o.children())
        return not mixed and any(map(_is_layer, module.modules()))

    if can_be(unit):
        return [unit]
    called = (child for child in unit.children() if type(child).forward is not nn.Module.forward)
    # Not its own layers, for the same reason.
    return [child for child in called if not _is_layer(child) and can_be(child)]


def _others(module: nn.Module) -> list[nn.Module]:
    """The modules in a module that have weights of their own and are no layers."""
    return [
        each
        for each in module.modules()
        if not _is_layer(each) and list(each.parameters(recurse=False))
    ]


def _is_layer(module: nn.Module) -> bool:
    """Whether a module does nothing to its weights before it multiplies by them."""
    return any(type(module).forward is kind.forward for kind in LAYERS)


def _on_the_host(value: Tensor) -> Tensor:
    copy = value.detach().to("cpu", copy=True)
    if isinstance(value, nn.Parameter):
        return nn.Parameter(copy, requires_grad=value.requires_grad)
    return copy


def whole(value: Tensor) -> Tensor:
    """A tensor, and a sharded one as a whole; all processes call this together."""
    return value.full_tensor() if isinstance(value, DTensor) else value
