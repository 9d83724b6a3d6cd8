"""Taps: where what a network computes inside it can be taken as a vector of features.

A tap is behind a unit, or before the head. It is looked for once, by running the network on one
image, and on one of twice the size: dimensions that grow are positions, the other holds features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from zoo.backbones.activation import Activation, watching
from zoo.backbones.pooling import POOLED_HEAD, Shape, feature_dimension, the_tensor
from zoo.backbones.record import eval_mode
from zoo.domain.hierarchy import Hierarchy
from zoo.errors import Unsupported

__all__ = ["HEAD", "HookPoint", "Reached", "Tap", "find_tap", "find_taps", "hook", "taps_at"]

HEAD = "head"
"""The tap before the head."""

REFUSALS = (AssertionError, IndexError, RuntimeError, TypeError, ValueError)
"""What networks raise for images of a size that they do not take."""


class Reached(Exception):
    """No error: it ends a run early, with what was reached."""

    def __init__(self, output: object = None) -> None:
        super().__init__()
        self.output = output


@dataclass(frozen=True, slots=True)
class HookPoint:
    """A module, and whether its input is looked at, or its output."""

    path: str
    at_input: bool


@dataclass(frozen=True, slots=True)
class Tap:
    """Where features are taken.

    Attributes:
        unit: The unit that it is behind, or ``head``.
        path: The module.
        at_input: Whether features are the input of the module, rather than its output.
        shape: Shape of the tensor for one image.
        dimension: Which dimension of it holds features; they are averaged over the others.
        activation: What the network does next with what it gives, if that is an activation.
    """

    unit: str
    path: str
    at_input: bool
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
    two. An encoder has no head: its features are what it gives. ``images`` is at least one image
    (N, C, H, W) on the network's device, of the size that will be used.

    Raises:
        UnknownName: No unit or stage is called so.
        Unsupported: What is there is no tensor that can be pooled.
    """
    unit = HEAD if at == HEAD else hierarchy.find(at, also=[HEAD]).name
    tap = taps_at(module, hierarchy, {unit: _hook_points(module, hierarchy)[unit]}, images)[unit]
    if isinstance(tap, str):
        raise Unsupported(
            f"{hierarchy.architecture} has no features at {unit}: what is there {tap}"
        )
    return tap


def find_taps(module: nn.Module, hierarchy: Hierarchy, images: Tensor) -> tuple[Tap, ...]:
    """The taps behind all units that have features, in order of depth, and last the one before the
    head; ``images`` as in `find_tap`.
    """
    taps = taps_at(module, hierarchy, _hook_points(module, hierarchy), images)
    return tuple(tap for tap in taps.values() if isinstance(tap, Tap))


def _hook_points(module: nn.Module, hierarchy: Hierarchy) -> dict[str, HookPoint]:
    points = {unit.name: HookPoint(unit.modules[-1], at_input=False) for unit in hierarchy.units}
    # An encoder's hierarchy is that of the architecture, which has no head.
    head = (POOLED_HEAD,) if hasattr(module, POOLED_HEAD) else hierarchy.head.modules
    return points | {
        HEAD: HookPoint(head[0], at_input=True) if head else HookPoint("", at_input=False)
    }


def taps_at(
    module: nn.Module,
    hierarchy: Hierarchy,
    points: Mapping[str, HookPoint],
    images: Tensor,
    build: Callable[[tuple[int, int]], nn.Module] | None = None,
) -> dict[str, Tap | str]:
    """The tap at each point, by its unit, or why there is none: what the tensor there lacks.

    ``build`` gives the network for another height and width, where ``module`` takes one size only.
    """
    owned = [path for unit in hierarchy.units for path in unit.modules] + [*hierarchy.head.modules]
    shapes, behind = _watch(module, points, owned, images[:1])
    larger: dict[str, list[Shape | None]] = {}
    if any(len(shape) > 2 for seen in shapes.values() for shape in seen if shape):
        twice = nn.functional.interpolate(images[:1], scale_factor=2)
        with suppress(*REFUSALS, Unsupported):  # made for images of one size
            height, width = twice.shape[2:]
            larger, _ = _watch(build((height, width)) if build else module, points, owned, twice)
    native = {unit.modules[-1]: unit.shape for unit in hierarchy.units}
    taps: dict[str, Tap | str] = {}
    for unit, point in points.items():
        if len(shapes[unit]) != 1:
            taps[unit] = f"runs {len(shapes[unit])} times for an image"
            continue
        (shape,) = shapes[unit]
        if shape is None:
            taps[unit] = "is not a single tensor"
            continue
        grown = larger[unit][0] if len(larger.get(unit, ())) == 1 else None
        dimension = feature_dimension(shape, grown, native.get(point.path))
        if dimension is None:
            taps[unit] = f"does not tell which dimension of {shape} holds features"
            continue
        taps[unit] = Tap(unit, point.path, point.at_input, shape, dimension, behind.get(unit))
    return taps


@torch.no_grad()
def _watch(
    module: nn.Module, points: Mapping[str, HookPoint], owned: Iterable[str], images: Tensor
) -> tuple[dict[str, list[Shape | None]], dict[str, Activation]]:
    """Run ``module``; the shapes seen at each point (None: no tensor), one for each call, and
    which activation got the very tensor that was seen there, outside of the ``owned`` modules.
    """
    shapes: dict[str, list[Shape | None]] = {name: [] for name in points}

    def look(name: str, value: Tensor | None) -> None:
        shapes[name].append(None if value is None else tuple(value.shape))
        following.see(name, value)

    with ExitStack() as hooks, eval_mode(module):
        for name, point in points.items():
            hooks.enter_context(hook(module, point.path, point.at_input, partial(look, name)))
        following = hooks.enter_context(watching(module, owned))
        module(images)
    return shapes, following.behind


def hook(
    module: nn.Module, path: str, at_input: bool, see: Callable[[Tensor | None], None]
) -> RemovableHandle:
    """Until it is removed, ``see`` gets the first input of the module at ``path``, or its output;
    None if that is no single tensor.
    """
    child = module.get_submodule(path)
    if not at_input:
        return child.register_forward_hook(lambda _, __, output: see(the_tensor(output)))

    def enter(_: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        value = next(iter((*args, *kwargs.values())), None)
        see(value if isinstance(value, Tensor) else None)

    return child.register_forward_pre_hook(enter, with_kwargs=True)
