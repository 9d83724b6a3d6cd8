"""Features: what a network makes of an image somewhere inside it, pooled to one vector.

They are taken at taps (`zoo.backbones.taps`): a run ends where its last tap is reached, and nothing
above is computed. Whatever mode the network is in, features are those of eval mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import torch
from torch import Tensor, nn

from zoo.backbones.pooling import pool
from zoo.backbones.record import eval_mode
from zoo.backbones.taps import StopForward, Tap, hook
from zoo.domain.progress import Task

__all__ = ["extract", "features_at", "tapped"]


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
    module: nn.Module, taps: Sequence[Tap], batches: Iterable[tuple[Tensor, Tensor]], task: Task
) -> tuple[list[Tensor], Tensor]:
    """The features of all batches at each tap, in their order, and the targets.

    Batches are images (N, C, H, W) and targets (N, …), on any device; ``task`` is advanced by every
    image.
    """
    device = next(module.parameters()).device
    parts: list[list[Tensor]] = []
    targets: list[Tensor] = []
    for images, target in batches:
        parts.append(features_at(module, taps, images.to(device)))
        targets.append(target.cpu())
        task.advance(len(images))
    return [torch.cat(part) for part in zip(*parts, strict=True)], torch.cat(targets)


@contextmanager
def tapped(module: nn.Module, tap: Tap) -> Iterator[list[Tensor]]:
    """While it lasts, the features (N, F) at a tap of each batch that the network runs, float32 on
    the CPU, one after the other; what it gives stays what it is.
    """
    found: list[Tensor] = []

    def keep(tensor: Tensor | None) -> None:
        if tensor is None:
            raise TypeError(f"{tap.path} gives no single tensor any more")
        features = tap.activation(tensor) if tap.activation else tensor
        found.append(pool(features.detach(), tap.dimension).cpu())

    with hook(module, tap.path, tap.at_input, keep):
        yield found
