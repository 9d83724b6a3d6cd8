"""The poison proof: a boundary is a cut if the network can run forward from there.

The independent check on `zoo.backbones.liveness`, which reasons about one recorded run. Here the
network really runs from there: what enters the unit at the boundary is recorded, everything before
it is poisoned with NaN, and the recorded input is fed at the boundary. If the output is the
ordinary one bit for bit, nothing that later units need passed by. Spared is only what an image of
NaN does not change: tables of positions and the like. (Source: the project's own design document,
section "The hierarchy, and how a cut is proven".)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only
from torch.utils.hooks import RemovableHandle

from zoo.backbones.freeze import parametric
from zoo.backbones.from_cut import entry_of
from zoo.domain.hierarchy import Hierarchy, Unit

__all__ = ["check_cuts", "proves_cut"]

SEED = 0

Nested = TypeVar("Nested")
Inputs = tuple[object, ...]
"""Positional and keyword arguments of a call."""

CallOutputs = dict[nn.Module, list[object]]
"""What each call of some modules gave, in order."""


def check_cuts(
    module: nn.Module, hierarchy: Hierarchy, images: Tensor
) -> tuple[list[bool], list[bool]]:
    """Assert that what is claimed to be a cut is proven in eval mode and for training (before the
    head, in eval mode), and that inner cuts are found if there are any; for each boundary before a
    unit, whether it is proven in either.

    That all that is proven is claimed is not asked for: a value may be handed past a boundary and
    then ignored. ``module`` has real weights; there are two images at least, for batch-norm.
    """
    inference, training = (
        [proves_cut(module, hierarchy, unit.depth, seen, train=train) for unit in hierarchy.units]
        for seen, train in ((images[:1], False), (images, True))
    )
    for unit in hierarchy.units:
        proven = inference[unit.depth] and training[unit.depth]
        assert proven or not unit.cut, f"{hierarchy.architecture}, {unit.name}"
    if hierarchy.head.cut:
        # Dropout before the head's own modules is below its cut, which is none while it is on.
        assert proves_cut(module, hierarchy, len(hierarchy.units), images[:1]), "head"
    assert any(inference[1:]) == any(unit.cut for unit in hierarchy.units[1:])
    return inference, training


@torch.no_grad()
def proves_cut(
    module: nn.Module, hierarchy: Hierarchy, depth: int, images: Tensor, *, train: bool = False
) -> bool:
    """Whether ``module`` can run forward from a boundary; it is left as it was.

    Args:
        module: The network, with real weights: on the meta device nothing can be proven.
        hierarchy: Its hierarchy.
        depth: The unit whose entrance is the boundary; the number of units: the head.
        images: Input (N, C, H, W) that gives an output without NaN.
        train: Prove it for training: what is below the boundary in eval mode, as frozen parts are,
            and all else in train mode, with the same random numbers in both runs.
    """
    entry = module.get_submodule(entry_of(module, hierarchy, depth))
    earlier = [
        module.get_submodule(path)
        for unit in hierarchy.units[:depth]
        for path in parametric(module, unit.modules)
    ]
    frozen = hierarchy.units[:depth] if train else None
    with _modes(module, frozen), _buffers_kept(module), torch.random.fork_rng(devices=[]):
        entered, observed, ordinary = _ordinary_run(module, entry, earlier, images)
        outputs = _unless_same(observed, _poisoned_run(module, entry, earlier, images))
        with ExitStack() as changes:
            for child in earlier:
                changes.enter_context(_replaced_forward(child, _stub(outputs[child])))
            feed = _Feed(entered)
            changes.enter_context(_before(entry, feed))
            torch.manual_seed(SEED)
            late = module(_poisoned(images))
    return feed.fed and _bit_equal(ordinary, late)


def _ordinary_run(
    module: nn.Module, entry: nn.Module, earlier: list[nn.Module], images: Tensor
) -> tuple[Inputs, CallOutputs, object]:
    """What first enters ``entry``, what each call of the ``earlier`` ones gives, and the output."""
    entered: list[Inputs] = []

    def enter(_: nn.Module, *inputs: object) -> None:
        if not entered:
            entered.append(_copied(inputs))

    with _before(entry, enter), _watched(earlier) as observed:
        torch.manual_seed(SEED)
        ordinary = _copied(module(images))
    return entered[0], observed, ordinary


def _poisoned_run(
    module: nn.Module, entry: nn.Module, earlier: list[nn.Module], images: Tensor
) -> CallOutputs:
    """What each call of the ``earlier`` ones gives for images of NaN, up to ``entry``."""

    def stop(*_: object) -> None:
        raise _StopForward

    with _before(entry, stop), _watched(earlier) as observed, suppress(_StopForward):
        module(_poisoned(images))
    return observed


class _StopForward(Exception):
    """No error: it ends a run early."""


def _before(entry: nn.Module, hook: Callable[..., object]) -> RemovableHandle:
    return entry.register_forward_pre_hook(hook, prepend=True, with_kwargs=True)


@contextmanager
def _watched(children: list[nn.Module]) -> Iterator[CallOutputs]:
    """What each call of ``children`` gives, as copies: what comes next may write in place."""
    observed: CallOutputs = {child: [] for child in children}
    with ExitStack() as hooks:
        for child in children:
            note = child.register_forward_hook(
                lambda child, _, output: observed[child].append(_copied(output))
            )
            hooks.enter_context(note)
        yield observed


def _unless_same(observed: CallOutputs, poisoned: CallOutputs) -> CallOutputs:
    """NaN in the shape of what was observed, but for what images of NaN give just so."""
    expected: CallOutputs = {}
    for child, outputs in observed.items():
        others = poisoned[child]
        expected[child] = [
            tree_map(_nan_unless_same, output, others[call])
            if call < len(others)  # a call past the boundary is of another run
            else _poisoned(output)
            for call, output in enumerate(outputs)
        ]
    return expected


class _Feed:
    """A pre-hook that puts the recorded input in the place of the first one that arrives."""

    def __init__(self, recorded: Inputs) -> None:
        self.recorded = recorded
        self.fed = False

    def __call__(self, _: nn.Module, *inputs: object) -> Inputs:
        if self.fed:
            return inputs
        self.fed = True
        return self.recorded


def _stub(outputs: list[object]) -> Callable[..., object]:
    calls = iter(outputs)
    return lambda *_, **__: _copied(next(calls, outputs[-1]))


@contextmanager
def _replaced_forward(module: nn.Module, forward: Callable[..., object]) -> Iterator[None]:
    before = module.__dict__.get("forward")
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        del module.__dict__["forward"]
        if before is not None:
            module.__dict__["forward"] = before


@contextmanager
def _modes(module: nn.Module, frozen: Sequence[Unit] | None) -> Iterator[None]:
    """Train mode but for the units that are frozen; eval mode if not even none is."""
    modes = {child: child.training for child in module.modules()}
    paths = [path for unit in frozen or () for path in unit.modules]
    below = {child for path in paths for child in module.get_submodule(path).modules()}
    for child in modes:
        child.training = frozen is not None and child not in below
    try:
        yield
    finally:
        for child, training in modes.items():
            child.training = training


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Batch-norm in train mode moves its statistics: put them back."""
    values = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, before in values:
            buffer.copy_(before)


def _copied(value: Nested) -> Nested:
    return cast(Nested, tree_map_only(Tensor, torch.clone, value))


def _poisoned(value: Nested) -> Nested:
    """The same structure and shapes, all NaN. Full tensors: activations may write in place."""
    return cast(Nested, tree_map_only(Tensor, _nan_like, value))


def _nan_unless_same(value: object, other: Tensor) -> object:
    if not isinstance(value, Tensor) or torch.equal(value, other):
        return value
    return _nan_like(value)


def _nan_like(tensor: Tensor) -> Tensor:
    floating = tensor.is_floating_point() or tensor.is_complex()
    return torch.full_like(tensor, float("nan") if floating else 0)


def _bit_equal(one: object, other: object) -> bool:
    leaves, structure = tree_flatten(one)
    others, other_structure = tree_flatten(other)
    return structure == other_structure and all(
        torch.equal(a, b) if isinstance(a, Tensor) else a == b
        for a, b in zip(leaves, others, strict=True)
    )
