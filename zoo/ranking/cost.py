"""What a network costs where it runs here: milliseconds for one image, and multiply-accumulates."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.backbones.bench import limited_to
from zoo.backbones.devices import wait_for
from zoo.backbones.record import eval_mode

__all__ = ["cost_of"]

TIMES = 50
SECONDS = 0.5
"""Of all runs together: after these there is no further one."""


@torch.inference_mode()
def cost_of(
    network: nn.Module, input_size: Sequence[int], device: torch.device
) -> tuple[float, float | None]:
    """Milliseconds for an image of ``input_size`` (C, H, W) by itself, and its
    multiply-accumulates; None where the network has operations that torch cannot count.

    On a CPU it is the processor time of one thread, which other programs hardly change: wall time
    of one network was between 6 and 21 ms on a busy machine. The shortest of up to 50 runs counts.
    """
    image = torch.zeros(1, *input_size, device=device)
    with eval_mode(network), limited_to(1):
        with _frozen(network), FlopCounterMode(display=False) as counter:
            network(image)
        counted = counter.get_total_flops() / 2
        spent: list[float] = []
        while not spent or (len(spent) < TIMES and sum(spent) < SECONDS):
            begun = _now(device)
            network(image)
            spent.append(_now(device) - begun)
    return 1000 * min(spent), counted or None


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """While it is open, no parameter wants a gradient: torch's counter asks for the history of one
    that is handed to a module, as of the query of a pooling by attention, and here it has none.
    """
    wanting = [each for each in network.parameters() if each.requires_grad]
    try:
        for each in wanting:
            each.requires_grad_(False)
        yield
    finally:
        for each in wanting:
            each.requires_grad_()


def _now(device: torch.device) -> float:
    """Seconds of the device's work until now."""
    if device.type == "cpu":
        return time.thread_time()
    wait_for(device)
    return time.perf_counter()
