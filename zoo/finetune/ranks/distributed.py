"""Several processes that train one network: each has its share of every batch.

Started by ``torchrun`` or ``accelerate launch``. Gradients are added up, weighted by what each
process saw, so that a step is that of one process with the whole batch, to float tolerance. (Batch
norm that is trained takes its statistics from a process's share.) Only the first process writes.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from zoo import config
from zoo.errors import MissingPackage, Unsupported

__all__ = ["ALONE", "Processes"]

T = TypeVar("T")

STEP = timedelta(minutes=10)
"""How long one process waits for another within a step."""
WORK = timedelta(days=1)
"""How long all wait for what the first does alone. One that ends is noticed at once: gloo sees its
connections close. Only one that hangs takes so long."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: 0 for the first.
        size: How many there are.
        waiting: The group in which they wait for what the first does alone; None: there is one.
        sharded: Whether each holds but a share of what is trained (`zoo.finetune.ranks.sharded`).
    """

    rank: int = 0
    size: int = 1
    waiting: dist.ProcessGroup | None = None
    sharded: bool = False

    def __str__(self) -> str:
        """How many there are, and whether they share the weights, which gives other bits."""
        return f"{self.size}, sharded" if self.sharded else str(self.size)

    @classmethod
    def join(cls, device: str) -> tuple[Processes, str]:
        """Meet the others, if there are any, as accelerate's settings or ``torchrun`` say.

        Returns:
            This one, and its own device.

        Raises:
            MissingPackage: There are others, and accelerate is not installed.
            Unsupported: Weights are to be spread over the processes in a way that is not done
                here; or they cannot meet.
        """
        size = config.processes()
        if size < 2:
            if (started := config.mpi_processes()) > 1:
                raise Unsupported(
                    f"MPI started {started} processes, which do not know of each other here: start "
                    "them by torchrun, accelerate launch or --launch, or give each WORLD_SIZE, "
                    "RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT"
                )
            return ALONE, device
        way = config.weights_spread_by()
        if way not in (None, "FSDP"):
            raise Unsupported(
                f"{way} is not done here: use distributed_type FSDP, MULTI_GPU or MULTI_CPU"
            )
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise MissingPackage("accelerate", "pip install 'zoo-registry[accelerate]'") from error
        if way:
            from zoo.finetune.ranks.sharded import settings

            settings()
        met = dist.is_initialized()
        state = PartialState(cpu=torch.device(device).type == "cpu", timeout=STEP)
        if state.num_processes != size:
            raise Unsupported(f"{size} processes cannot meet on {device}: use --device cpu")
        if not met:
            # The group's threads abort a process that ends before them.
            atexit.register(dist.destroy_process_group)
        waiting = dist.new_group(backend="gloo", timeout=WORK)
        assert isinstance(waiting, dist.ProcessGroup)
        return cls(state.process_index, size, waiting, way is not None), str(state.device)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, value: T) -> T:
        """The first process's value, in all."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.waiting)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Every process's value, in all, by rank."""
        if self.size == 1:
            return [value]
        found = [value] * self.size
        dist.all_gather_object(found, value, group=self.waiting)
        return found

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process goes through the block, then all others."""
        if self.size > 1 and not self.first:
            dist.barrier(self.waiting)
        yield
        if self.size > 1 and self.first:
            dist.barrier(self.waiting)

    def wait(self) -> None:
        """Until all are here: who leaves sooner takes the connection from the others."""
        if self.size > 1:
            dist.barrier(self.waiting)

    def align(self, tensors: Mapping[str, Tensor]) -> None:
        """Give all processes the first one's values."""
        if self.size > 1:
            for value in tensors.values():
                dist.broadcast(value.detach(), src=0)

    def whole(self, value: Tensor) -> Tensor:
        """A tensor, and a sharded one as a whole; all come here together."""
        if not self.sharded:
            return value
        from zoo.finetune.ranks.sharded import whole

        return whole(value)

    def gathered(self, kept: T) -> T:
        """Nested data, with every sharded tensor as a whole one on the CPU; all come here together.
        Only what the first gets is of use.
        """
        if not self.sharded:
            return kept
        from zoo.finetune.ranks.sharded import gathered

        return cast(T, gathered(kept, keep=self.first))

    def like(self, value: Any, sharded: Tensor) -> Any:
        """A whole tensor as shares, where ``sharded``, of the same shape, is one of shares."""
        if not self.sharded:
            return value
        from zoo.finetune.ranks.sharded import like

        return like(value, sharded)

    def total(self, value: float, device: torch.device) -> float:
        """The sum over all processes."""
        if self.size == 1:
            return value
        box = torch.tensor(value, dtype=torch.float64 if device.type == "cpu" else torch.float32)
        box = box.to(device)
        dist.all_reduce(box)
        return box.item()

    def add_up(self, parameters: Sequence[nn.Parameter]) -> None:
        """Put the sum over all processes into each gradient; one that none has stays none."""
        if self.size == 1 or self.sharded or not parameters:  # sharded ones are added up by then
            return
        device = parameters[0].device
        there = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
        dist.all_reduce(there)
        chosen = [p for p, known in zip(parameters, there.tolist(), strict=True) if known]
        if not chosen:
            return
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in chosen]
        flat = torch.cat([part.float() for part in parts])
        dist.all_reduce(flat)
        sizes = [parameter.numel() for parameter in chosen]
        for parameter, part in zip(chosen, torch.split(flat, sizes), strict=True):
            # A fused step wants a gradient to lie in memory as its parameter does.
            parameter.grad = torch.empty_like(parameter).copy_(part.view_as(parameter))


ALONE = Processes()
"""No others."""
