"""Taps: where what a network computes inside it can be taken as a vector of features.

A tap is behind a unit, or before the head. It is looked for once, by running the network on one
image, and on one of twice the size: dimensions that grow are positions, the other holds features.

An activation that directly follows a unit, and belongs to none, is part of the tap: AlexNet's and
VGG's last hidden layer has its own as a module between the last unit and the head; DenseNet's last
norm is followed by a function in the network's own code. What is learned from such a unit is
learned from what the activation gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from zoo.backbones.pooling import POOLED_HEAD, Shape, feature_dimension, the_tensor
from zoo.backbones.record import eval_mode
from zoo.domain.hierarchy import Hierarchy
from zoo.errors import Unsupported

__all__ = [
    "Activation",
    "HEAD",
    "HookPoint",
    "REFUSALS",
    "StopForward",
    "Tap",
    "find_tap",
    "find_taps",
    "hook",
    "taps_at",
]

HEAD = "head"
"""The tap before the head."""

REFUSALS = (
    *(ArithmeticError, AssertionError, LookupError, MemoryError, RuntimeError),
    *(TypeError, ValueError),
)
"""What networks raise that cannot be run: for images of a size that they do not take, say, or for
want of memory (PyTorch's own error for that is a `RuntimeError`).
"""


NAMES = "gelu hardswish leaky_relu relu relu6 silu"
ACTIVATIONS = {getattr(functional, name) for name in NAMES.split()} | {
    torch.relu,
    torch.relu_,
    Tensor.relu,
    Tensor.relu_,
}
"""What is looked for behind a unit; modules such as `nn.ReLU` call them, too."""


class StopForward(Exception):
    """No error: it ends a run early."""


@dataclass(frozen=True, slots=True)
class Activation:
    """A call of one of `ACTIVATIONS`, as the network does it: with ``rest`` behind the tensor, and
    ``options`` by name. It can be copied and pickled.
    """

    function: Callable[..., Tensor]
    rest: tuple[object, ...] = ()
    options: dict[str, object] = field(default_factory=dict)

    def __call__(self, tensor: Tensor) -> Tensor:
        """What it makes of ``tensor``, which stays as it is."""
        # It may write into what it gets, which others may hold.
        return self.function(tensor.clone(), *self.rest, **self.options)


class _Following(TorchFunctionMode):
    """Watches for activations of what was seen, outside of the modules of units and of the head."""

    def __init__(self) -> None:
        super().__init__()
        self.behind: dict[str, Activation] = {}
        self._inside = 0
        self._seen: dict[int, tuple[str, object]] = {}

    def see(self, name: str, value: object) -> None:
        """Look for what is done with ``value``, and call it ``name``."""
        self._seen[id(value)] = name, value  # kept alive: another would have its number

    def enter(self, *_: object) -> None:
        self._inside += 1

    def leave(self, *_: object) -> None:
        self._inside -= 1

    def __torch_function__(
        self,
        func: Callable[..., Tensor],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> Tensor:
        keywords = kwargs or {}
        if func in ACTIVATIONS and not self._inside:
            (value, *rest) = args or (keywords["input"],)
            if id(value) in self._seen:
                options = {name: option for name, option in keywords.items() if name != "input"}
                name, _ = self._seen[id(value)]
                self.behind[name] = Activation(func, tuple(rest), options)
        return func(*args, **keywords)


@dataclass(frozen=True, slots=True)
class HookPoint:
    """A module, and whether its input is looked at, or its output."""

    path: str
    at_input: bool


@dataclass(frozen=True, slots=True)
class Tap:
    """Where features are taken: behind ``unit``, or before the ``head``, from the module at
    ``path``.

    Attributes:
        shape: Of the tensor for one image.
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
        # Sizes that do not grow with the image are features: one larger run tells which these are.
        twice = functional.interpolate(images[:1], scale_factor=2)
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
    following = _Following()

    def look(name: str, value: Tensor | None) -> None:
        shapes[name].append(None if value is None else tuple(value.shape))
        following.see(name, value)

    with ExitStack() as hooks, eval_mode(module):
        for name, point in points.items():
            hooks.enter_context(hook(module, point.path, point.at_input, partial(look, name)))
        for path in owned:
            child = module.get_submodule(path)
            hooks.enter_context(child.register_forward_pre_hook(following.enter))
            # Always: the run of a truncated network ends by an exception.
            hooks.enter_context(child.register_forward_hook(following.leave, always_call=True))
        hooks.enter_context(following)
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
