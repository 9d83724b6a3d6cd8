"""Ranks: the processes that train one network together, and the device of each.

One alone is a rank that does nothing, so whoever trains need not ask how many there are. Several
are started by ``torchrun`` or ``accelerate launch``, and each has its share of every batch.
Gradients are added up, weighted by what each rank saw, so that a step is that of one process with
the whole batch, to float tolerance. (Batch norm that is trained takes its statistics from a rank's
share, unless it is synced.) Only the main rank writes. In `zoo.finetune.ranks.sharded` each has a
shard of the weights.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from zoo import config
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.recipe import Recipe
from zoo.errors import MissingPackage, Unsupported
from zoo.finetune.ranks.buckets import Buckets
from zoo.finetune.ranks.synced import SyncedBatchNorm

__all__ = ["ALONE", "Distributed", "Ranks", "join", "leave"]

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

    def totals(self, values: Sequence[float]) -> list[float]:
        """The sums over all ranks, of each."""
        return list(values)

    def summed(self, value: Tensor) -> Tensor:
        """The sum over all ranks of a tensor, which stays on its device."""
        return value

    def synced_norms(self) -> AbstractContextManager[object]:
        """While it is open, batch norms in training take their statistics from all ranks."""
        return nullcontext()

    def summing(
        self, parameters: Sequence[nn.Parameter], *, early: bool
    ) -> AbstractContextManager[object]:
        """A context for the last backward pass of a step: after it, each gradient is the sum over
        all ranks; one that none has stays none. ``early``: sums begin meanwhile, which wants that
        each parameter gets its gradient at once, and that nothing else is sent.
        """
        del parameters, early
        return nullcontext()

    def check(self, recipe: Recipe, model: nn.Module) -> None:
        """Refuse what the ranks cannot train together."""

    def shard(self, model: nn.Module, hierarchy: Hierarchy, cut: int, precision: str) -> nn.Module:
        """The module that takes the steps; units below the ``cut`` never run in it."""
        del hierarchy, cut, precision
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

STEP = timedelta(minutes=10)
"""How long one rank waits for another within a step."""
WORK = timedelta(days=1)
"""How long all wait for what the main rank does alone. A process that ends is noticed at once: gloo
sees its connections close. Only one that hangs takes so long."""
LEAVING = 0.1
"""Seconds from the last operation to the end of the group. Its threads need far less."""


@dataclass(frozen=True, slots=True)
class Distributed(Ranks):
    """One of several processes, with the whole network in each.

    Attributes:
        waiting: The group in which they wait for what the main rank does alone.
        counting: The one in which they tell one another numbers, as a step goes on.
    """

    waiting: dist.ProcessGroup | None = None
    counting: dist.ProcessGroup | None = None

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
        try:
            yield
        finally:  # after an error, too: the others would wait for ever
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

    def totals(self, values: Sequence[float]) -> list[float]:
        """See `Ranks.totals`."""
        # From host to host: accelerators go on with what they were given.
        box = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(box, group=self.counting)
        return box.tolist()

    def summed(self, value: Tensor) -> Tensor:
        """See `Ranks.summed`."""
        # Not on every accelerator: MPS has no float64.
        exact = torch.float64 if value.device.type == "cpu" else torch.float32
        box = value.to(exact, copy=True)
        dist.all_reduce(box)
        return box

    def synced_norms(self) -> AbstractContextManager[object]:
        """See `Ranks.synced_norms`."""
        return SyncedBatchNorm()

    @contextmanager
    def summing(self, parameters: Sequence[nn.Parameter], *, early: bool) -> Iterator[None]:
        """See `Ranks.summing`."""
        buckets = Buckets(parameters)
        with buckets.watched() if early else nullcontext():
            yield
        # All ranks send the same: one without images of its own has no gradients at all.
        has_grad = self.totals([float(each) for each in buckets.send()])
        buckets.end([total > 0 for total in has_grad])


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
        atexit.register(leave)
    waiting = dist.new_group(backend="gloo", timeout=WORK)
    counting = dist.new_group(backend="gloo", timeout=STEP)
    assert isinstance(waiting, dist.ProcessGroup)
    assert isinstance(counting, dist.ProcessGroup)
    rank = kind(state.process_index, world_size, way is not None, waiting, counting)
    return rank, str(state.device)


def leave() -> None:
    """End the process group, as this process ends.

    A thread of gloo that still has the tensors of the last operation needs the interpreter's lock
    to let go of them. torch 2.7 holds that lock while it waits for the thread, for ever.
    """
    time.sleep(LEAVING)  # without the lock
    dist.destroy_process_group()


def _refuse_mpi() -> None:
    if (started := config.mpi_processes()) > 1:
        raise Unsupported(
            f"MPI started {started} processes, which cannot find each other: start "
            "them by torchrun, accelerate launch or --launch, or give each WORLD_SIZE, "
            "RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT"
        )
