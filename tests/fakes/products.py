"""How an NVIDIA GPU takes products of numbers in fp32."""

from __future__ import annotations

from typing import Any, cast

import torch

__all__ = ["products"]


def products() -> tuple[str, ...]:
    """Of matrices, and of convolutions: ``tf32``, ``ieee`` (exact), or ``none``: as torch likes."""
    cuda, cudnn = torch.backends.cuda.matmul, cast(Any, torch.backends.cudnn)
    if hasattr(cuda, "fp32_precision"):  # since torch 2.9, which refuses to mix in the older names
        return cuda.fp32_precision, cudnn.conv.fp32_precision
    return tuple("tf32" if fast else "ieee" for fast in (cuda.allow_tf32, cudnn.allow_tf32))
