"""Gradients that are summed over all processes while the backward pass computes those of lower
layers: in buckets, each sent when all its gradients are there.

As torch's DistributedDataParallel has it, which is a module around the network: here that is
entered at its cut, and a process may have no image of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["Buckets"]

BYTES = 25 << 20
"""Of a bucket, about: hundreds of small messages would each wait for the slowest process, and the
last one is sent when nothing is left to compute."""


class Buckets:
    """The gradients of one step; all processes have the same ``parameters``, in the same order."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        # A backward pass comes to the last ones first.
        self._buckets = _divided(parameters[::-1])
        self._awaited = [len(bucket) for bucket in self._buckets]
        self._place = {each: at for at, bucket in enumerate(self._buckets) for each in bucket}
        self._sums: list[tuple[nn.Parameter, Tensor, bool]] = []
        self._works: list[dist.Work] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While it is open, buckets are sent as a backward pass fills them; each parameter gets its
        gradient once.
        """
        hooks = [
            each.register_post_accumulate_grad_hook(self._fill)  # type: ignore[no-untyped-call]
            for each in self._place
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def send(self) -> list[bool]:
        """Send what was not sent yet; which parameters have a gradient here."""
        while len(self._works) < len(self._buckets):
            self._send_next()
        return [has for _, _, has in self._sums]

    def end(self, anywhere: Sequence[bool]) -> None:
        """Wait for the sums, and put them into the gradients of those parameters that have one
        ``anywhere``, in the order of `send`.
        """
        for work in self._works:
            work.wait()
        for (parameter, value, _), has in zip(self._sums, anywhere, strict=True):
            alike = value.stride() == parameter.stride() and value.dtype == parameter.dtype
            if has:  # a fused step wants a gradient to lie in memory as its parameter does
                parameter.grad = value if alike else torch.empty_like(parameter).copy_(value)

    def _fill(self, parameter: nn.Parameter) -> None:
        self._awaited[self._place[parameter]] -= 1
        # In one order everywhere, whatever order a network computes in.
        while not self._awaited[len(self._works)]:
            self._send_next()
            if len(self._works) == len(self._buckets):
                break

    @torch.no_grad()
    def _send_next(self) -> None:
        bucket = self._buckets[len(self._works)]
        sizes = [each.numel() for each in bucket]
        flat = torch.zeros(sum(sizes), device=bucket[0].device)
        for each, part in zip(bucket, torch.split(flat, sizes), strict=True):
            value = part.view(each.shape)
            if each.grad is not None:
                value.copy_(each.grad)
            self._sums.append((each, value, each.grad is not None))
            each.grad = None  # its memory is not needed twice
        work = dist.all_reduce(flat, async_op=True)
        assert work is not None
        self._works.append(work)


def _divided(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    buckets: list[list[nn.Parameter]] = []
    room = 0
    for parameter in parameters:
        if not buckets or room <= 0:
            buckets.append([])
            room = BYTES // torch.float32.itemsize
        buckets[-1].append(parameter)
        room -= parameter.numel()
    return buckets
