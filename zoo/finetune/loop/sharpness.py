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
    gradients, which are dropped; afterwards they are to the bit what they were. Running statistics
    of batch norms stand still meanwhile: those of other weights are not theirs.

    How long gradients are does not matter: they may be scaled, as for fp16. An accelerator is not
    waited for.
    """
    moving: list[Tensor] = [each for each in parameters if each.grad is not None]
    before = [parameter.detach().clone() for parameter in moving]
    norms = [child for child in model.modules() if isinstance(child, _BatchNorm)]
    momenta = [child.momentum for child in norms]
    _climb(moving, radius)
    for child in norms:
        child.momentum = 0.0
    try:
        yield
    finally:
        for child, momentum in zip(norms, momenta, strict=True):
            child.momentum = momentum
        with torch.no_grad():
            torch._foreach_copy_(moving, before)


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
