"""Forward from a cut, as a check: training from there gives the bits of training the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import torch
from blake3 import blake3
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from zoo.backbones.freeze import freeze, trainable_parameters
from zoo.backbones.from_cut import CutInputs, FromCut
from zoo.domain.hierarchy import Hierarchy
from zoo.testing.freezing import copied

__all__ = ["check_larger_batch", "check_from_cut"]

RATE = 1e-3
SEED = 7
STEPS = 3
MANY = 5
"""Images, more than those that tell `FromCut` what modules give."""


def check_from_cut(module: nn.Module, hierarchy: Hierarchy, images: Tensor) -> list[int]:
    """Assert that training on what was recorded gives the losses and gradients of every step, and
    at the end the parameters and buffers, of training the whole network frozen below, bit for bit;
    the boundaries entered: the first, middle and last inner cut, and the head's if it is one.

    What drops values at random above the cut does so, seeded alike; but the head is trained in eval
    mode, for dropout comes before its linear layer and so below its cut. Where the network is run
    from a cut, the images are NaN: nothing can be made of them. ``images`` (N, C, H, W) are two at
    least, for batch-norm.
    """
    entered = boundaries(hierarchy)
    for boundary in entered:
        expected = train_whole(module, hierarchy, boundary, images)
        actual = train_from_cut(module, hierarchy, boundary, images)
        for step, (one, other) in enumerate(zip(expected, actual, strict=True)):
            assert one.keys() == other.keys()
            wrong = [name for name in one if one[name] != other[name]]
            assert not wrong, f"{hierarchy.boundary_name(boundary)}, step {step}: {wrong[:3]}"
    return entered


@torch.no_grad()
def check_larger_batch(module: nn.Module, hierarchy: Hierarchy, images: Tensor) -> list[int]:
    """Assert that a batch of `MANY` images, made of ``images`` and run from a cut, gives the
    outputs (N, K) of the whole network in eval mode, bit for bit; the boundaries, as in
    `check_from_cut`.
    """
    late = copied(module).eval()
    batch = torch.cat([images / number for number in range(1, MANY + 1)])[:MANY]
    expected = late(batch)
    entered = boundaries(hierarchy)
    for boundary in entered:
        entry = FromCut(late, hierarchy, boundary)
        actual = entry.forward(_cloned(entry.record(batch)), torch.full_like(batch, float("nan")))
        assert torch.equal(actual, expected), hierarchy.boundary_name(boundary)
    return entered


def boundaries(hierarchy: Hierarchy) -> list[int]:
    """The first, middle and last inner cut, and the one before the head; those there are."""
    inner = [unit.depth for unit in hierarchy.units[1:] if unit.cut]
    chosen = {inner[0], inner[len(inner) // 2], inner[-1]} if inner else set()
    if hierarchy.head.cut and hierarchy.head.parameters:
        chosen.add(len(hierarchy.units))
    return sorted(chosen)


Step = dict[str, str]
"""Digests of the loss and the gradients; of what was trained and all buffers, after the last."""


def train_whole(
    module: nn.Module, hierarchy: Hierarchy, boundary: int, images: Tensor, *, seed: int = SEED
) -> list[Step]:
    """Train a copy of all of ``module``, frozen below ``boundary``, as slowly as usual."""
    whole = copied(module)
    freeze(whole, hierarchy, boundary)
    whole.train(boundary < len(hierarchy.units))
    return _train(whole, lambda: whole(images), seed)


def train_from_cut(
    module: nn.Module, hierarchy: Hierarchy, boundary: int, images: Tensor, *, seed: int = SEED
) -> list[Step]:
    """Train a copy of ``module`` from ``boundary`` on, with what was recorded of the images."""
    late = copied(module)
    freeze(late, hierarchy, boundary)
    late.train(boundary < len(hierarchy.units))
    entry = FromCut(late, hierarchy, boundary)
    recorded = entry.record(images)
    nowhere = torch.full_like(images, float("nan"))
    with torch.no_grad():
        entry.forward(_cloned(recorded), nowhere)  # learns the shapes
    # Batch-norm above has seen that run.
    for buffer, before in zip(late.buffers(), module.buffers(), strict=True):
        buffer.copy_(before)
    return _train(late, lambda: entry.forward(_cloned(recorded), nowhere), seed)


def _train(module: nn.Module, run: Callable[[], Tensor], seed: int) -> list[Step]:
    parameters = dict(trainable_parameters(module))
    optimizer = torch.optim.AdamW(parameters.values(), lr=RATE, weight_decay=0.1)
    steps: list[Step] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(STEPS):
            loss = run().square().mean()
            assert loss.isfinite()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            gradients = [(name, p.grad) for name, p in parameters.items() if p.grad is not None]
            steps.append({"loss": _digest(loss)} | _digests(gradients))
    return [*steps, _digests([*parameters.items(), *module.named_buffers()])]


def _digests(tensors: Iterable[tuple[str, Tensor]]) -> Step:
    return {name: _digest(value) for name, value in tensors}


def _digest(tensor: Tensor) -> str:
    """Of the bytes: kept for every step, the tensors of large networks would not fit in memory."""
    flat = tensor.detach().contiguous().reshape(-1)
    return blake3(flat.view(torch.uint8).numpy().data).hexdigest()


def _cloned(inputs: CutInputs) -> CutInputs:
    return cast(CutInputs, tree_map_only(Tensor, torch.clone, inputs))
