"""Batch norm over all processes: statistics of the whole batch, not of a process's share (SyncBN).

torch's `torch.nn.SyncBatchNorm` is for GPUs only, takes the place of modules, and waits for the
other processes wherever it is in training, also where the first one runs the network alone. Here
the batch norms of a forward pass are computed together while a context is open, on any device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["SyncedBatchNorm"]


class SyncedBatchNorm(TorchFunctionMode):
    """While it is open, batch norms in training take their statistics from the images of all
    processes. Each of these has some, and runs the same network forward and then backward.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Whatever is called of torch comes here."""
        del types
        called = _normalized if func is functional.batch_norm else func
        return called(*args, **(kwargs or {}))


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes, whose losses are added up, too."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        whole = value.clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    @once_differentiable
    def backward(_: Any, gradient: Tensor) -> Tensor:
        whole = gradient.clone()
        dist.all_reduce(whole)
        return whole


def _normalized(
    images: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As `torch.nn.functional.batch_norm`."""
    if not training:
        how = (running_mean, running_var, weight, bias, training, momentum, eps)
        return functional.batch_norm(images, *how)
    values: Tensor = images.float()
    others = [at for at in range(values.dim()) if at != 1]
    here = values.sum(others)
    each = here.new_full((1,), values.numel() / values.shape[1])
    sums: Tensor = _Sum.apply(torch.cat([here, each]))
    count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
    # Not the mean of squares less the square of the mean, which for large means is only rounding.
    shape = [1, -1, *[1] * (values.dim() - 2)]
    values = values - mean.reshape(shape)
    var: Tensor = _Sum.apply(values.square().sum(others)) / count
    _follow(running_mean, mean, momentum)
    _follow(running_var, var * count / (count - 1), momentum)
    values = values * (var + eps).rsqrt().reshape(shape)
    if weight is not None:
        values = values * weight.reshape(shape)
    if bias is not None:
        values = values + bias.reshape(shape)
    return values.to(images.dtype)


@torch.no_grad()
def _follow(running: Tensor | None, value: Tensor, momentum: float) -> None:
    if running is not None:
        running.lerp_(value.to(running.dtype), momentum)
