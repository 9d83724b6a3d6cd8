"""Bench: how fast a checkpoint runs on a device, by batch size."""

from __future__ import annotations

import math
import platform
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from zoo.backbones.devices import out_of_memory, pick_device, wait_for
from zoo.backbones.free_memory import free_memory
from zoo.backbones.load import load
from zoo.backbones.predict import refused
from zoo.backbones.taps import REFUSALS
from zoo.domain.benched import Benched, Timed
from zoo.domain.progress import Progress
from zoo.domain.words import plural
from zoo.errors import InvalidOption
from zoo.store.side_files import BENCHES
from zoo.workspace import Workspace

__all__ = ["PRECISIONS", "bench", "limited_to", "milliseconds"]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WARM_UP, LEAST = 3, 5
"""Runs before those that count, and the fewest that do."""
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
"""Linux: with 5 written to the first, the peak that the second tells begins anew (proc(5))."""
PEAK = re.compile(r"^VmHWM:\s*(\d+) kB", re.MULTILINE)
CPUINFO = Path("/proc/cpuinfo")
FLOAT_BYTES = 4
MODEL = re.compile(r"^model name\s*: (.+)$", re.MULTILINE)


def bench(
    workspace: Workspace,
    name: str,
    *,
    device: str,
    batch_sizes: Sequence[int],
    threads: int | None,
    precision: str,
    seconds: float,
    save: bool,
    progress: Progress,
) -> Benched:
    """Run a checkpoint on random images of its own size, and tell how long it took.

    Each batch size runs for about so many ``seconds``, after a warm-up. One that does not fit into
    memory is told and left out, with those that are larger.

    Raises:
        UnknownName: No such checkpoint here.
        InvalidOption: There is no such device here, or not even the smallest batch fits into its
            memory.
        Unsupported: The network does not take images of its own size.
    """
    _, digest = workspace.names.resolve(name)
    manifest, where = workspace.store.manifest(digest), torch.device(pick_device(device))
    size = manifest.preprocessing.input_size
    with limited_to(threads or torch.get_num_threads()):
        memory = _Memory(where)
        module = load(workspace.store, digest, device=str(where))
        timed = []
        with progress(f"running {name} on {_model(where)}", len(batch_sizes)) as task:
            for batch in sorted({*batch_sizes}):
                try:
                    timed.append(
                        _timed(module, _images(batch, size, where), precision, seconds, memory)
                    )
                except (*REFUSALS, MemoryError) as error:
                    if not out_of_memory(error, where):
                        raise refused(size, error) from error
                    progress.say(f"{plural(batch, 'image')} at once do not fit into memory")
                    break
                task.advance()
        if not timed:
            raise InvalidOption(f"{name} does not fit into the memory of {_model(where)}")
        benched = Benched(
            manifest=digest,
            device=where.type,
            model=_model(where),
            threads=torch.get_num_threads(),
            precision=precision,
            torch=torch.__version__,
            input_size=size,
            bytes=sum(weights.size for weights in manifest.weights),
            batches=tuple(timed),
            at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    if save:
        workspace.keep_figures(BENCHES, benched)
    return benched


def milliseconds(module: nn.Module, size: Sequence[int], seconds: float) -> float:
    """The median of a run of one random image of that ``size`` (C, H, W) on the CPU, of so many
    ``seconds``, after a warm-up.
    """
    device = torch.device("cpu")
    return _timed(module, _images(1, size, device), "fp32", seconds, _Memory(device)).ms


@contextmanager
def limited_to(threads: int) -> Iterator[None]:
    """So many threads of torch on the CPU; as many as before, afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _images(batch: int, size: Sequence[int], device: torch.device) -> Tensor:
    """Random images.

    Raises:
        MemoryError: They alone take more than is free.
    """
    if batch * math.prod(size) * FLOAT_BYTES > free_memory():
        raise MemoryError  # a system that promises more than it has would end this process
    return torch.randn(batch, *size, generator=torch.Generator().manual_seed(0)).to(device)


@torch.inference_mode()
def _timed(
    module: nn.Module, images: Tensor, precision: str, seconds: float, memory: _Memory
) -> Timed:
    """Runs of one batch, until they took ``seconds`` together; `LEAST` at least."""
    kind = images.device.type
    reduced = precision != "fp32"
    context = torch.autocast(kind, PRECISIONS[precision]) if reduced else nullcontext()
    spent: list[float] = []
    with context:
        for _ in range(WARM_UP):
            module(images)
        while len(spent) < LEAST or sum(spent) < seconds:
            wait_for(images.device)
            begun = time.perf_counter()
            module(images)
            wait_for(images.device)
            spent.append(time.perf_counter() - begun)
    median = statistics.median(spent)
    return Timed(
        batch=len(images),
        ms=1000 * median,
        p95=1000 * sorted(spent)[math.ceil(0.95 * len(spent)) - 1],
        images_per_second=len(images) / median,
        memory=memory.taken(),
    )


class _Memory:
    """Bytes that are taken at most, beside those that were when it was made."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.before: int | None = None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device)
        elif device.type == "cpu":
            with suppress(OSError):
                CLEAR.write_text("5")
                self.before = int(psutil.Process().memory_info().rss)

    def taken(self) -> int | None:
        """So many until now; None where the system does not tell."""
        if self.before is None:
            return None
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) - self.before
        match = PEAK.search(STATUS.read_text())
        return max(int(match[1]) * 1024 - self.before, 0) if match else None


def _model(device: torch.device) -> str:
    """What the device is called: ``NVIDIA H100 80GB HBM3``, ``AMD EPYC 7B13``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with suppress(OSError):
        if match := MODEL.search(CPUINFO.read_text()):
            return match[1].strip()
    return platform.processor() or platform.machine() or device.type
