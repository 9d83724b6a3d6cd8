"""Ranks: the processes that train one network together. One alone is a rank that does nothing.

Whoever trains calls these methods and need not ask how many there are: see
`zoo.finetune.ranks.distributed` for what they do where there are several, and
`zoo.finetune.ranks.sharded` for what they do where each holds a shard of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from zoo.domain.hierarchy import Hierarchy
from zoo.domain.recipe import Recipe
from zoo.errors import InvalidOption

__all__ = ["ALONE", "Ranks", "pick_device"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together: the only one."""

    rank: int = 0  # 0: the main one, which alone writes
    world_size: int = 1
    sharded: bool = False  # each has a shard of the weights, and takes part in every forward pass

    def __str__(self) -> str:
        """How many there are, and whether they shard the weights, which gives other bits."""
        return f"{self.world_size}, sharded" if self.sharded else str(self.world_size)

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def on_main(self, work: Callable[[], T]) -> T:
        """What ``work`` returns on the main rank, on all; the others wait for it."""
        return work()

    def gather(self, value: T) -> list[T]:
        """Every rank's value, on all, by rank."""
        return [value]

    def main_first(self) -> AbstractContextManager[None]:
        """The main rank goes through the block, then all others."""
        return nullcontext()

    def wait(self) -> None:
        """Until all are here: who leaves sooner takes the connection from the others."""

    def seed(self, seed: int) -> None:
        """Seed each rank's dropout differently; a single process keeps the generator it has."""

    def sync(self, tensors: Mapping[str, Tensor]) -> None:
        """Give all ranks the main one's values."""

    def total(self, value: float, device: torch.device) -> float:
        """The sum over all ranks."""
        del device
        return value

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Put the sum over all ranks into each gradient; one that none has stays none."""

    def check(self, recipe: Recipe, model: nn.Module) -> None:
        """Refuse what the ranks cannot train together."""

    def shard(self, model: nn.Module, hierarchy: Hierarchy, cut: int) -> nn.Module:
        """The module that takes the steps; units below the ``cut`` never run in it."""
        del hierarchy, cut
        return model

    def collect(self, model: nn.Module, into: Mapping[str, Tensor]) -> None:
        """Copy what was trained into the network's own tensors, where it is another module."""

    def full(self, state: T) -> T:
        """Nested data with every shard as a whole tensor on the CPU, on the main rank."""
        return state

    def like(self, value: T, shard: Tensor) -> T:
        """A whole tensor as shards, where ``shard``, of the same shape, is one of shards."""
        del shard
        return value


ALONE = Ranks()
"""One process alone."""


def pick_device(device: str) -> str:
    """``auto`` becomes the accelerator if there is one; anything else must be usable.

    Raises:
        InvalidOption: There is no such device here.
    """
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator.type if accelerator else "cpu"
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        usable = f"auto, cpu, {accelerator.type}" if accelerator else "auto, cpu"
        text = f"the device '{device}' cannot be used here; these can: {usable}"
        raise InvalidOption(text) from error
    return device
