"""Moved: a tensor of the host on the device where it is needed, without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["moved"]


def moved(
    tensor: Tensor, device: torch.device, layout: torch.memory_format = torch.preserve_format
) -> Tensor:
    """``tensor`` on ``device``. To a CUDA device it is copied while Python goes on."""
    # Only from pinned memory, which torch keeps until it is read. From other memory, a copy that is
    # not waited for may come too late: what it reads may be freed and written to before
    # (pytorch/pytorch#139550, for MPS).
    ahead = device.type == "cuda" and tensor.device.type == "cpu"
    source = tensor.pin_memory() if ahead else tensor
    return source.to(device, memory_format=layout, non_blocking=ahead)
