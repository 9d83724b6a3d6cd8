"""What a network costs where it runs here: milliseconds for one image, and multiply-accumulates."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.backbones.record import eval_mode

__all__ = ["cost_of"]

TIMES = 50
SECONDS = 0.5
"""After which no further time is taken."""


@torch.inference_mode()
def cost_of(
    network: nn.Module, input_size: Sequence[int], device: torch.device
) -> tuple[float, float | None]:
    """Milliseconds for an image of ``input_size`` (C, H, W) by itself, and its
    multiply-accumulates; None where the network has operations that torch cannot count.

    Of up to 50 times the least counts: whatever else the machine does only makes it slower.
    """
    image = torch.zeros(1, *input_size, device=device)
    with eval_mode(network):
        with FlopCounterMode(display=False) as counter:
            network(image)
        counted = counter.get_total_flops() / 2
        spent: list[float] = []
        while not spent or (len(spent) < TIMES and sum(spent) < SECONDS):
            _finish(device)
            begun = time.perf_counter()
            network(image)
            _finish(device)
            spent.append(time.perf_counter() - begun)
    return 1000 * min(spent), counted or None


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
