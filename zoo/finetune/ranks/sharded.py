"""A network whose weights, gradients and optimizer's state are spread over the processes (FSDP).

It is a copy that takes the steps. The network itself stays whole in each process, so that what only
the first one does (measure, blend, keep, publish) is done in one way.
"""

from __future__ import annotations

import gc
from collections import Counter
from copy import deepcopy
from typing import Any

import torch
import torch.distributed as dist
from accelerate import FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

from zoo import config
from zoo.domain.hierarchy import Hierarchy
from zoo.errors import Unsupported

__all__ = ["check_shards", "gathered", "like", "settings", "shard", "whole"]


def settings() -> dict[str, Any]:
    """What accelerate's settings say of FSDP and is heeded here, for `torch`'s ``fully_shard``.

    Raises:
        Unsupported: They ask for what is not done here.
    """
    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise Unsupported(f"FSDP takes a newer torch than {torch.__version__}: 2.14 is known to do")
    if (found := config.fsdp_version()) != 2:
        raise Unsupported(
            f"FSDP of version {found} is not done here, but version 2: accelerate to-fsdp2 makes "
            "such a config of yours"
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


def check_shards(model: nn.Module) -> None:
    """See whether the weights can be shared.

    Raises:
        Unsupported: One of them is a single number, of which there is no share.
    """
    if single := [name for name, parameter in model.named_parameters() if not parameter.dim()]:
        raise Unsupported(
            f"FSDP shares no single numbers, and this network has {single[0]}: use MULTI_GPU"
        )


def shard(model: nn.Module, hierarchy: Hierarchy, cut: int) -> nn.Module:
    """A copy of ``model`` of which each process holds its share, unit by unit.

    All processes call this together.

    Args:
        model: With the same weights in all; on the device to train on.
        hierarchy: Its hierarchy.
        cut: How many units lie below the cut where it is entered: they never run, and the copy has
            the very tensors of ``model`` there.
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
    chosen: dict[str, Any] = {**settings(), "mesh": mesh}
    for module in _groups(copy, hierarchy, cut):
        fully_shard(module, **chosen)
    fully_shard(
        copy, ignored_params={p for n, p in copy.named_parameters() if n in below}, **chosen
    )
    for module in copy.modules():
        if isinstance(module, FSDPModule):
            # Losses are each process's share of the batch's: gradients are summed, no mean of them.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return copy


def _groups(model: nn.Module, hierarchy: Hierarchy, cut: int) -> list[nn.Module]:
    """The modules of units whose weights are gathered when they are called.

    Containers are never called, and weights that two modules have in common are asked for by both:
    these go with the whole network.
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


def _on_the_host(value: Tensor) -> Tensor:
    copy = value.detach().to("cpu", copy=True)
    if isinstance(value, nn.Parameter):
        return nn.Parameter(copy, requires_grad=value.requires_grad)
    return copy


def whole(value: Tensor) -> Tensor:
    """A tensor, and a sharded one as a whole; all processes call this together."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def gathered(kept: Any, *, keep: bool) -> Any:
    """Nested data, with every sharded tensor as a whole one on the CPU, or nothing.

    All processes call this together. One tensor at a time is whole on the device.
    """

    def one(value: DTensor) -> Tensor | None:
        full = value.full_tensor()
        return full.cpu() if keep else None

    return tree_map_only(DTensor, one, kept)


def like(value: Any, sharded: Tensor) -> Any:
    """A whole tensor as shares, where ``sharded``, of the same shape, is one of shares."""
    if isinstance(sharded, DTensor) and isinstance(value, Tensor) and value.shape == sharded.shape:
        here = value.to(sharded.device)
        return distribute_tensor(here, sharded.device_mesh, sharded.placements)
    return value
