"""Threads: work on so few images that a second one costs more than it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import ThreadpoolController

__all__ = ["FEW", "one_thread"]

FEW = 2000
"""Images up to which one thread compares them, and fits what tells them apart: the operations are
so small that threads mostly wait for one another, and where a machine is busy, for a core."""


@contextmanager
def one_thread(images: int = FEW) -> Iterator[None]:
    """A context in which torch and BLAS use one thread, where these are `FEW` images."""
    if images > FEW:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadpoolController().limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
