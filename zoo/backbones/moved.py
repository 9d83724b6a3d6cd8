"""Moved: a tensor of the host on the device where it is needed, without waiting for it."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

__all__ = ["moved"]


def moved(
    tensor: Tensor, device: torch.device, layout: torch.memory_format = torch.preserve_format
) -> Tensor:
    """``tensor`` on ``device``. To a CUDA device it is copied while Python goes on, and beside what
    the device computes.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        # From other memory than pinned, which torch keeps until it is read, a copy that is not
        # waited for may come too late: what it reads may be freed and written to before
        # (pytorch/pytorch#139550, for MPS).
        return tensor.to(device, memory_format=layout)
    beside, here = _beside(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(beside):
        copy = tensor.pin_memory().to(device, memory_format=layout, non_blocking=True)
    here.wait_stream(beside)  # the device does, when it comes to what needs the copy
    copy.record_stream(here)  # else its memory might be given away while it is used
    return copy


@cache
def _beside(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
