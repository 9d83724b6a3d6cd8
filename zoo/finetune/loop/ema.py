"""EMA: an exponential moving average of what is trained.

Only of that: averaging a frozen weight with itself moves its last bits. Early on the decay is less,
so that the average of a short run is not that of its first steps (the rule of TensorFlow's
``ExponentialMovingAverage``: at most (1 + updates) / (10 + updates)).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["EMA", "between"]


def between(one: Tensor, other: Tensor, share: float) -> Tensor:
    """What lies ``share`` of the way from ``one`` to ``other``; equal values stay, infinite ones
    too, which some networks have as limits.
    """
    return torch.where(one == other, one, torch.lerp(one, other, share))


class EMA:
    """Averages of tensors that are trained in place.

    Args:
        live: The tensors by name: parameters, and buffers that training moves.
        decay: 0 to 1; the share of the average that stays at each update, in the long run.
    """

    def __init__(self, live: Mapping[str, Tensor], decay: float) -> None:
        self.live = live
        self.decay = decay
        self.updates = 0
        self.values = {name: value.detach().clone() for name, value in live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards what the tensors are now; whole numbers are copied."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in self.live.items():
            if value.is_floating_point():
                self.values[name] = between(self.values[name], value, 1 - decay)
            else:
                self.values[name].copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While open, the tensors hold their averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self.live.items():
            live = value.clone()
            value.copy_(self.values[name])
            self.values[name].copy_(live)
