"""A meta copy of a network: the same modules on the meta device, with shapes and no bytes."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from zoo.backbones.shapes import storage_of
from zoo.errors import Unsupported

__all__ = ["meta_copy"]


def meta_copy(module: nn.Module) -> nn.Module:
    """A copy of ``module`` on the meta device; it costs no memory, and running it hardly any time.

    Raises:
        Unsupported: Two of its parameters or buffers share bytes, but are not the same tensor.
            What else it holds raises what it likes when it is copied.
    """
    memo: dict[int, Tensor] = {}
    storages: set[int] = set()
    for _, tensor in (*module.named_parameters(), *module.named_buffers()):
        if storage_of(tensor) in storages:
            raise Unsupported("there is no meta copy of tensors that share bytes")
        storages.add(storage_of(tensor))
        like = torch.empty_like(tensor, device="meta")
        if isinstance(tensor, nn.Parameter):
            like = nn.Parameter(like, requires_grad=tensor.requires_grad)
        memo[id(tensor)] = like
    return copy.deepcopy(module, memo)
