"""Several processes that train one network: each has its share of every batch.

Started by ``torchrun`` or ``accelerate launch``. Gradients are added up, weighted by what each
rank saw, so that a step is that of one process with the whole batch, to float tolerance. (Batch
norm that is trained takes its statistics from a rank's share.) Only the main rank writes.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from zoo import config
from zoo.errors import MissingPackage, Unsupported
from zoo.finetune.ranks.ranks import ALONE, Ranks

__all__ = ["Distributed", "join"]

T = TypeVar("T")

STEP = timedelta(minutes=10)
"""How long one rank waits for another within a step."""
WORK = timedelta(days=1)
"""How long all wait for what the main rank does alone. A process that ends is noticed at once: gloo
sees its connections close. Only one that hangs takes so long."""


@dataclass(frozen=True, slots=True)
class Distributed(Ranks):
    """One of several processes, with the whole network in each.

    Attributes:
        waiting: The group in which they wait for what the main rank does alone.
    """

    waiting: dist.ProcessGroup | None = None

    def on_main(self, work: Callable[[], T]) -> T:
        """See `Ranks.on_main`."""
        box = [work() if self.is_main else None]
        dist.broadcast_object_list(box, src=0, group=self.waiting)
        return cast(T, box[0])

    def gather(self, value: T) -> list[T]:
        """See `Ranks.gather`."""
        values = [value] * self.world_size
        dist.all_gather_object(values, value, group=self.waiting)
        return values

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """See `Ranks.main_first`."""
        # One meeting: the others come to it before their block, the main rank after its own.
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    def wait(self) -> None:
        """See `Ranks.wait`."""
        dist.barrier(self.waiting)

    def seed(self, seed: int) -> None:
        """See `Ranks.seed`."""
        torch.manual_seed(seed + self.rank)

    def sync(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Ranks.sync`."""
        for value in tensors.values():
            dist.broadcast(value.detach(), src=0)

    def total(self, value: float, device: torch.device) -> float:
        """See `Ranks.total`."""
        # Not on every accelerator: MPS has no float64.
        dtype = torch.float64 if device.type == "cpu" else torch.float32
        box = torch.tensor(value, dtype=dtype, device=device)
        dist.all_reduce(box)
        return box.item()

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """See `Ranks.sum_gradients`."""
        if not parameters:
            return
        device = parameters[0].device
        # All ranks must send the same: one without images of its own has no gradients at all.
        has_grad = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
        dist.all_reduce(has_grad)
        chosen = [p for p, any_has in zip(parameters, has_grad.tolist(), strict=True) if any_has]
        if not chosen:
            return
        # In one message: hundreds of small ones would each wait for the slowest rank.
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in chosen]
        flat = torch.cat([part.float() for part in parts])
        dist.all_reduce(flat)
        sizes = [parameter.numel() for parameter in chosen]
        for parameter, part in zip(chosen, torch.split(flat, sizes), strict=True):
            # A fused step wants a gradient to lie in memory as its parameter does.
            parameter.grad = torch.empty_like(parameter).copy_(part.view_as(parameter))


def join(device: str) -> tuple[Ranks, str]:
    """Meet the others, if there are any, as accelerate's settings or ``torchrun`` say.

    Returns this rank, and its own device.

    Raises:
        MissingPackage: There are others, and accelerate is not installed.
        Unsupported: They share weights in a way that is not done here, or cannot communicate.
    """
    world_size, way = config.processes(), config.weights_spread_by()
    if world_size < 2:
        _refuse_mpi()
        return ALONE, device
    if way not in (None, "FSDP"):
        raise Unsupported(
            f"{way} is not supported: use distributed_type FSDP, MULTI_GPU or MULTI_CPU"
        )
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MissingPackage("accelerate", "pip install 'zoo-registry[accelerate]'") from error
    kind: type[Distributed] = Distributed
    if way:
        from zoo.finetune.ranks.sharded import Sharded, settings

        settings()
        kind = Sharded
    connected = dist.is_initialized()
    state = PartialState(cpu=torch.device(device).type == "cpu", timeout=STEP)
    if state.num_processes != world_size:
        raise Unsupported(
            f"{world_size} processes cannot communicate on {device}: use --device cpu"
        )
    if not connected:
        # The group's threads abort a process that ends before them.
        atexit.register(dist.destroy_process_group)
    waiting = dist.new_group(backend="gloo", timeout=WORK)
    assert isinstance(waiting, dist.ProcessGroup)
    return kind(state.process_index, world_size, way is not None, waiting), str(state.device)


def _refuse_mpi() -> None:
    if (started := config.mpi_processes()) > 1:
        raise Unsupported(
            f"MPI started {started} processes, which cannot find each other: start "
            "them by torchrun, accelerate launch or --launch, or give each WORLD_SIZE, "
            "RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT"
        )
