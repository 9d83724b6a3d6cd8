"""Codes: what a network makes of an image somewhere inside it, pooled to one vector.

They are taken at taps: behind a unit, or before the head. A tap is looked for once, by running the
network on one image; from then on a run ends where its last tap is reached, and nothing above is
computed. Whatever mode the network is in, codes are those of eval mode.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones.activation import Activation, watching
from zoo.backbones.pooled_head import POOLED_HEAD
from zoo.backbones.pooling import Shape, feature_dimension, pool, the_tensor
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.progress import Task
from zoo.errors import UnknownName, Unsupported

__all__ = ["HEAD", "Tap", "codes", "extract", "find_tap", "find_taps"]

HEAD = "head"
"""The tap before the head."""

REFUSALS = (AssertionError, IndexError, RuntimeError, TypeError, ValueError)
"""What networks raise for images of a size that they do not take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """Where codes are taken.

    Attributes:
        unit: The unit that it is behind, or ``head``.
        path: The module.
        entering: Whether codes are what the module gets, rather than what it gives.
        features: Number of features, F.
        dimension: Which dimension of the tensor they are; it is averaged over the others.
        activation: What the network does next with what it gives, if that is an activation.
    """

    unit: str
    path: str
    entering: bool
    features: int
    dimension: int
    activation: Activation | None = None


def find_tap(module: nn.Module, hierarchy: Hierarchy, images: Tensor, at: str) -> Tap:
    """The tap behind the unit ``at``, or the last unit of that stage; ``head``: before the head.

    Behind a unit is behind the activation that directly follows it, module or function, if that
    belongs to no other unit (AlexNet's and VGG's last hidden layer, DenseNet's last norm). Before
    the head is what its first module gets: of a distilled pair of classifiers, say, one of the
    two. An encoder has no head: its codes are what it gives.

    Args:
        module: The network.
        hierarchy: Its hierarchy.
        images: At least one image (N, C, H, W) on its device, of the size that will be used.
        at: The unit.

    Raises:
        UnknownName: No unit or stage is called so.
        Unsupported: What is there is no tensor that can be pooled.
    """
    unit = _unit_at(hierarchy, at)
    places = {unit: _places(module, hierarchy)[unit]}
    found = _look(module, hierarchy, places, images)[unit]
    if isinstance(found, str):
        raise Unsupported(f"{hierarchy.architecture} has no codes at {unit}: {found}")
    return found


def find_taps(module: nn.Module, hierarchy: Hierarchy, images: Tensor) -> tuple[Tap, ...]:
    """The taps behind all units that have codes, in order of depth, and last the one before the
    head. Arguments are those of `find_tap`.
    """
    found = _look(module, hierarchy, _places(module, hierarchy), images)
    return tuple(tap for tap in found.values() if isinstance(tap, Tap))


@torch.no_grad()
def codes(module: nn.Module, taps: Sequence[Tap], images: Tensor) -> list[Tensor]:
    """The codes of a batch at each tap, float32 (N, F) on the CPU.

    Args:
        module: The network.
        taps: Taps of it, found with images of the same size.
        images: The batch (N, C, H, W), on the network's device.
    """
    found: dict[str, Tensor] = {}

    def keep(tap: Tap, tensor: Tensor) -> None:
        # At once: an activation may write into the tensor.
        codes = tap.activation(tensor) if tap.activation else tensor
        found[tap.unit] = pool(codes, tap.dimension)
        if len(found) == len(taps):
            raise _Reached

    with ExitStack() as hooks, _eval_mode(module):
        for tap in taps:
            hooks.enter_context(_hook(module, tap.path, tap.entering, partial(keep, tap)))
        with suppress(_Reached):
            module(images)
    return [found[tap.unit].cpu() for tap in taps]


def extract(
    module: nn.Module,
    taps: Sequence[Tap],
    batches: Iterable[tuple[Tensor, Tensor]],
    task: Task,
) -> tuple[list[Tensor], Tensor]:
    """The codes of all batches at each tap, in their order, and the targets.

    Args:
        module: The network.
        taps: Taps of it.
        batches: Images (N, C, H, W) and targets (N, …), on any device.
        task: Told of every image.
    """
    device = next(module.parameters()).device
    parts: list[list[Tensor]] = []
    targets: list[Tensor] = []
    for images, target in batches:
        parts.append(codes(module, taps, images.to(device)))
        targets.append(target.cpu())
        task.advance(len(images))
    return [torch.cat(part) for part in zip(*parts, strict=True)], torch.cat(targets)


class _Reached(Exception):
    """No error: it ends a run early."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A module, and whether what it gets is looked at, or what it gives."""

    path: str
    entering: bool


def _unit_at(hierarchy: Hierarchy, at: str) -> str:
    if at == HEAD or any(unit.name == at for unit in hierarchy.units):
        return at
    in_stage = [unit.name for unit in hierarchy.units if unit.stage == at]
    if in_stage:
        return in_stage[-1]
    known = list(dict.fromkeys([*hierarchy.stages, *(u.name for u in hierarchy.units), HEAD]))
    near = difflib.get_close_matches(at, known, n=4, cutoff=0.4)
    hint = "" if near else "zoo tree lists the units of a network"
    raise UnknownName(f"unit of {hierarchy.architecture}", at, near, hint)


def _places(module: nn.Module, hierarchy: Hierarchy) -> dict[str, _Place]:
    """The place of each unit and of the head, by name."""
    places = {unit.name: _Place(unit.modules[-1], entering=False) for unit in hierarchy.units}
    # An encoder's hierarchy is that of the architecture, which has no head.
    head = (POOLED_HEAD,) if hasattr(module, POOLED_HEAD) else hierarchy.head.modules
    return places | {HEAD: _Place(head[0], entering=True) if head else _Place("", entering=False)}


def _look(
    module: nn.Module, hierarchy: Hierarchy, places: Mapping[str, _Place], images: Tensor
) -> dict[str, Tap | str]:
    """The tap at each place, or the reason why there is none."""
    owned = [path for unit in hierarchy.units for path in unit.modules] + [*hierarchy.head.modules]
    seen, behind = _watch(module, places, owned, images[:1])
    larger: dict[str, list[Shape | None]] = {}
    if any(len(shape) > 2 for shapes in seen.values() for shape in shapes if shape):
        twice = nn.functional.interpolate(images[:1], scale_factor=2)
        try:
            larger, _ = _watch(module, places, owned, twice)
        except REFUSALS:
            larger = {}  # made for images of one size
    native = {unit.name: unit.shape for unit in hierarchy.units}
    found: dict[str, Tap | str] = {}
    for unit, place in places.items():
        if len(seen[unit]) != 1:
            found[unit] = f"what is there runs {len(seen[unit])} times for an image"
        elif (shape := seen[unit][0]) is None:
            found[unit] = "what is there is no single tensor"
        else:
            grown = larger[unit][0] if len(larger.get(unit, ())) == 1 else None
            dimension = feature_dimension(shape, grown, native.get(unit))
            if dimension is None:
                found[unit] = f"which dimension of {shape} holds features is not clear"
                continue
            found[unit] = Tap(
                unit=unit,
                path=place.path,
                entering=place.entering,
                features=shape[dimension],
                dimension=dimension,
                activation=behind.get(unit),
            )
    return found


@torch.no_grad()
def _watch(
    module: nn.Module, places: Mapping[str, _Place], owned: Iterable[str], images: Tensor
) -> tuple[dict[str, list[Shape | None]], dict[str, Activation]]:
    """Run ``module``; the shapes seen at each place (None: no tensor), one for each call, and
    which activation got the very tensor that was seen there, outside of the ``owned`` modules.
    """
    shapes: dict[str, list[Shape | None]] = {name: [] for name in places}

    def look(name: str, value: Any) -> None:
        shapes[name].append(tuple(value.shape) if isinstance(value, Tensor) else None)
        following.see(name, value)

    with ExitStack() as hooks, _eval_mode(module):
        for name, place in places.items():
            hooks.enter_context(_hook(module, place.path, place.entering, partial(look, name)))
        following = hooks.enter_context(watching(module, owned))
        module(images)
    return shapes, following.behind


@contextmanager
def _hook(module: nn.Module, path: str, entering: bool, see: Any) -> Iterator[None]:
    """While it is open, ``see`` is given what the module at ``path`` gets first, or gives."""
    child = module.get_submodule(path)
    if entering:
        handle = child.register_forward_pre_hook(
            lambda _, args, kwargs: see(next(iter((*args, *kwargs.values())), None)),
            with_kwargs=True,
        )
    else:
        handle = child.register_forward_hook(lambda _, __, output: see(the_tensor(output)))
    with handle:
        yield


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for child, training in modes.items():
            child.training = training
