"""Sharpness-aware minimization: gradients are taken where the loss is worst near the weights.

SAM (Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization", ICLR
2021) goes a small way along the gradients, takes those of the same images there, and steps by them
from where it was. No library that is used here has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["uphill"]


@contextmanager
def uphill(model: nn.Module, parameters: Sequence[nn.Parameter], radius: float) -> Iterator[None]:
    """While open, ``parameters`` of ``model`` are ``radius`` away, in the direction of their
    gradients, which are dropped; afterwards they are to the bit what they were. So are running
    statistics of batch norms: those of other weights are not theirs.

    How long gradients are does not matter: they may be scaled, as for fp16. An accelerator is not
    waited for.
    """
    moving: list[Tensor] = [each for each in parameters if each.grad is not None]
    norms = [child for child in model.modules() if isinstance(child, _BatchNorm)]
    kept = [*moving, *(buffer for child in norms for buffer in child.buffers())]
    before = [each.detach().clone() for each in kept]
    _climb(moving, radius)
    try:
        yield
    finally:
        with torch.no_grad():
            for each, value in zip(kept, before, strict=True):
                each.copy_(value)


@torch.no_grad()
def _climb(parameters: list[Tensor], radius: float) -> None:
    gradients = [each.grad for each in parameters if each.grad is not None]
    if not gradients:
        return
    length = torch.stack(torch._foreach_norm(gradients)).norm()
    # Gradients that are all 0 have no direction.
    steps = torch._foreach_mul(gradients, radius / length.clamp(min=1e-12))
    torch._foreach_add_(parameters, steps)
    for parameter in parameters:
        parameter.grad = None
