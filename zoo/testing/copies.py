"""Copies of a network for a check to freeze and train."""

from __future__ import annotations

import copy
import gc

from torch import nn

__all__ = ["copied"]


def copied(module: nn.Module) -> nn.Module:
    """A copy of ``module``.

    Frozen copies hold themselves and their gradients until they are collected: of a network of 400
    million parameters, those of earlier checks would not fit in memory beside this one.
    """
    gc.collect()
    return copy.deepcopy(module)
