"""Taps: where what a network computes inside it can be taken as a vector of features.

A tap is behind a unit, or before the head. It is looked for once, by running the network on one
image, and on one of twice the size: the dimensions that grow are places, the other holds features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones.activation import Activation, watching
from zoo.backbones.eval_mode import eval_mode
from zoo.backbones.pooled_head import POOLED_HEAD
from zoo.backbones.pooling import Shape, feature_dimension, the_tensor
from zoo.domain.hierarchy import Hierarchy
from zoo.errors import Unsupported

__all__ = ["HEAD", "Place", "Reached", "Tap", "find_tap", "find_taps", "hook", "seen_once", "watch"]

HEAD = "head"
"""The tap before the head."""

REFUSALS = (AssertionError, IndexError, RuntimeError, TypeError, ValueError)
"""What networks raise for images of a size that they do not take."""


class Reached(Exception):
    """No error: it ends a run early, with what was reached."""

    def __init__(self, output: Any = None) -> None:
        super().__init__()
        self.output = output


@dataclass(frozen=True, slots=True)
class Place:
    """A module, and whether what it gets is looked at, or what it gives."""

    path: str
    entering: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """Where features are taken.

    Attributes:
        unit: The unit that it is behind, or ``head``.
        path: The module.
        entering: Whether features are what the module gets, rather than what it gives.
        shape: Shape of the tensor for one image.
        dimension: Which dimension of it holds features; they are averaged over the others.
        activation: What the network does next with what it gives, if that is an activation.
    """

    unit: str
    path: str
    entering: bool
    shape: Shape
    dimension: int
    activation: Activation | None = None

    @property
    def features(self) -> int:
        """Number of features, F."""
        return self.shape[self.dimension]


def find_tap(module: nn.Module, hierarchy: Hierarchy, images: Tensor, at: str) -> Tap:
    """The tap behind the unit ``at``, or the last unit of that stage; ``head``: before the head.

    Behind a unit is behind the activation that directly follows it, module or function, if that
    belongs to no other unit (AlexNet's and VGG's last hidden layer, DenseNet's last norm). Before
    the head is what its first module gets: of a distilled pair of classifiers, say, one of the
    two. An encoder has no head: its features are what it gives.

    Args:
        module: The network.
        hierarchy: Its hierarchy.
        images: At least one image (N, C, H, W) on its device, of the size that will be used.
        at: The unit.

    Raises:
        UnknownName: No unit or stage is called so.
        Unsupported: What is there is no tensor that can be pooled.
    """
    unit = HEAD if at == HEAD else hierarchy.find(at).name
    places = {unit: _places(module, hierarchy)[unit]}
    found = _look(module, hierarchy, places, images)[unit]
    if isinstance(found, str):
        raise Unsupported(f"{hierarchy.architecture} has no features at {unit}: {found}")
    return found


def find_taps(module: nn.Module, hierarchy: Hierarchy, images: Tensor) -> tuple[Tap, ...]:
    """The taps behind all units that have features, in order of depth, and last the one before the
    head. Arguments are those of `find_tap`.
    """
    found = _look(module, hierarchy, _places(module, hierarchy), images)
    return tuple(tap for tap in found.values() if isinstance(tap, Tap))


def _places(module: nn.Module, hierarchy: Hierarchy) -> dict[str, Place]:
    """The place of each unit and of the head, by name."""
    places = {unit.name: Place(unit.modules[-1], entering=False) for unit in hierarchy.units}
    # An encoder's hierarchy is that of the architecture, which has no head.
    head = (POOLED_HEAD,) if hasattr(module, POOLED_HEAD) else hierarchy.head.modules
    return places | {HEAD: Place(head[0], entering=True) if head else Place("", entering=False)}


def _look(
    module: nn.Module, hierarchy: Hierarchy, places: Mapping[str, Place], images: Tensor
) -> dict[str, Tap | str]:
    """The tap at each place, or the reason why there is none."""
    owned = [path for unit in hierarchy.units for path in unit.modules] + [*hierarchy.head.modules]
    seen, behind = watch(module, places, owned, images[:1])
    larger: dict[str, list[Shape | None]] = {}
    if any(len(shape) > 2 for shapes in seen.values() for shape in shapes if shape):
        twice = nn.functional.interpolate(images[:1], scale_factor=2)
        try:
            larger, _ = watch(module, places, owned, twice)
        except REFUSALS:
            larger = {}  # made for images of one size
    native = {unit.name: unit.shape for unit in hierarchy.units}
    found: dict[str, Tap | str] = {}
    for unit, place in places.items():
        shape = seen_once(seen[unit])
        if isinstance(shape, str):
            found[unit] = f"what is there {shape}"
            continue
        grown = larger[unit][0] if len(larger.get(unit, ())) == 1 else None
        dimension = feature_dimension(shape, grown, native.get(unit))
        if dimension is None:
            found[unit] = f"which dimension of {shape} holds features is not clear"
            continue
        found[unit] = Tap(
            unit=unit,
            path=place.path,
            entering=place.entering,
            shape=shape,
            dimension=dimension,
            activation=behind.get(unit),
        )
    return found


def seen_once(shapes: list[Shape | None]) -> Shape | str:
    """The one shape that `watch` saw somewhere, or why there is none."""
    if len(shapes) != 1:
        return f"runs {len(shapes)} times for an image"
    return "is no single tensor" if shapes[0] is None else shapes[0]


@torch.no_grad()
def watch(
    module: nn.Module, places: Mapping[str, Place], owned: Iterable[str], images: Tensor
) -> tuple[dict[str, list[Shape | None]], dict[str, Activation]]:
    """Run ``module``; the shapes seen at each place (None: no tensor), one for each call, and
    which activation got the very tensor that was seen there, outside of the ``owned`` modules.
    """
    shapes: dict[str, list[Shape | None]] = {name: [] for name in places}

    def look(name: str, value: Any) -> None:
        shapes[name].append(tuple(value.shape) if isinstance(value, Tensor) else None)
        following.see(name, value)

    with ExitStack() as hooks, eval_mode(module):
        for name, place in places.items():
            hooks.enter_context(hook(module, place.path, place.entering, partial(look, name)))
        following = hooks.enter_context(watching(module, owned))
        module(images)
    return shapes, following.behind


@contextmanager
def hook(module: nn.Module, path: str, entering: bool, see: Any) -> Iterator[None]:
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
