"""Chance that depends on what it decides alone, not on what was drawn before, or by whom."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from blake3 import blake3

__all__ = ["seeded"]


@contextmanager
def seeded(*what: int) -> Iterator[None]:
    """Within the body, all generators that transforms draw from are seeded by these numbers;
    afterwards they are as before.
    """
    seed = int.from_bytes(blake3(" ".join(map(str, what)).encode()).digest()[:8])
    # The default generator by itself: torch.manual_seed would reseed accelerators as well.
    generator = torch.default_generator
    before = random.getstate(), np.random.get_state(), generator.get_state()
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    generator.manual_seed(seed % (1 << 63))
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        generator.set_state(before[2])
