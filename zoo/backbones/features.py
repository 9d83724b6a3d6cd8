"""Features: what a network makes of an image somewhere inside it, pooled to one vector.

They are taken at taps (`zoo.backbones.taps`): a run ends where its last tap is reached, and nothing
above is computed. Whatever mode the network is in, features are those of eval mode.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from functools import partial
from queue import SimpleQueue

import torch
from torch import Tensor, nn

from zoo.backbones.pooling import pool
from zoo.backbones.record import eval_mode
from zoo.backbones.taps import StopForward, Tap, hook
from zoo.domain.progress import Task

__all__ = ["extract", "features_at", "shared_threads", "tapped"]


@torch.no_grad()
def features_at(module: nn.Module, taps: Sequence[Tap], images: Tensor) -> list[Tensor]:
    """The features of a batch at each tap, float32 (N, F) on the CPU.

    ``images`` (N, C, H, W) are on the network's device, of the size that the taps were found with.
    """
    vectors: dict[str, Tensor] = {}

    def keep(tap: Tap, tensor: Tensor | None) -> None:
        if tensor is None:
            raise TypeError(f"{tap.path} gives no single tensor any more")
        # At once: an activation may write into the tensor.
        features = tap.activation(tensor) if tap.activation else tensor
        vectors[tap.unit] = pool(features, tap.dimension)
        if len(vectors) == len(taps):
            raise StopForward

    with ExitStack() as hooks, eval_mode(module):
        for tap in taps:
            hooks.enter_context(hook(module, tap.path, tap.at_input, partial(keep, tap)))
        with suppress(StopForward):
            module(images)
    return [vectors[tap.unit].cpu() for tap in taps]


def extract(
    module: nn.Module,
    taps: Sequence[Tap],
    batches: Iterable[tuple[Tensor, Tensor]],
    task: Task,
    *,
    runs: int = 1,
) -> tuple[list[Tensor], Tensor]:
    """The features of all batches at each tap, in their order, and the targets.

    Batches are images (N, C, H, W) and targets (N, …), on any device; ``task`` is advanced by every
    image. So many ``runs`` go on at once, on a CPU, each with its share of the threads.
    """
    parts: list[list[Tensor]] = []
    targets: list[Tensor] = []
    for features, target in _side_by_side(module, taps, batches, runs):
        parts.append(features)
        targets.append(target.cpu())
        task.advance(len(target))
    return [torch.cat(part) for part in zip(*parts, strict=True)], torch.cat(targets)


def _side_by_side(
    module: nn.Module, taps: Sequence[Tap], batches: Iterable[tuple[Tensor, Tensor]], runs: int
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """The features and the targets of each batch, in their order.

    Threads that share a batch meet after each of hundreds of small steps, and wait there for the
    one that has no core just then. With a batch of its own none waits for another.
    """
    device = next(module.parameters()).device
    if runs == 1:
        for images, target in batches:
            yield features_at(module, taps, images.to(device)), target
        return
    own = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    free = SimpleQueue[nn.Module]()
    for _ in range(runs):  # hooks are a network's, not a run's
        free.put(deepcopy(module, dict[int, object](own)))

    def one(images: Tensor) -> list[Tensor]:
        mine = free.get()
        try:
            return features_at(mine, taps, images)
        finally:
            free.put(mine)

    waiting = deque[tuple[Future[list[Tensor]], Tensor]]()
    with shared_threads(runs), ThreadPoolExecutor(runs) as pool:
        for images, target in batches:
            waiting.append((pool.submit(one, images), target))
            if len(waiting) > runs:
                first, targets = waiting.popleft()
                yield first.result(), targets
        for each, targets in waiting:
            yield each.result(), targets


@contextmanager
def shared_threads(count: int) -> Iterator[None]:
    """While it lasts, each of ``count`` networks that run at once has its share of the threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(before // count, 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def tapped(module: nn.Module, tap: Tap) -> Iterator[list[Tensor]]:
    """While it lasts, the features (N, F) at a tap of each batch that the network runs, float32 on
    the CPU, one after the other; what it gives stays what it is.
    """
    pooled: list[Tensor] = []

    def keep(tensor: Tensor | None) -> None:
        if tensor is None:
            raise TypeError(f"{tap.path} gives no single tensor any more")
        features = tap.activation(tensor) if tap.activation else tensor
        pooled.append(pool(features.detach(), tap.dimension).cpu())

    with hook(module, tap.path, tap.at_input, keep):
        yield pooled
