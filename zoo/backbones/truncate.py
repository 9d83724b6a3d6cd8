"""Truncate a network: end it after one of its units, and pool what leaves that unit.

Or after several: then what leaves each is pooled, and the head gets all of it beside each other.

An activation that directly follows is part of what is kept, as it is of features.

The run ends early, by an exception that the network itself catches, so that any network can be
truncated, whatever its code does after the unit. What is left out is None in its place: the names
of the rest stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from zoo.backbones.freeze import parametric
from zoo.backbones.pooling import Shape, add_pooled_head, averaged, the_tensor
from zoo.backbones.record import record
from zoo.backbones.taps import HEAD, HookPoint, StopForward, Tap, hook, taps_at
from zoo.domain.hierarchy import HeadPart, Hierarchy, InputSize, Unit, under
from zoo.errors import Unsupported

__all__ = ["End", "find_end", "truncate", "truncated_hierarchy"]

Hook = Callable[..., object]


class _StopAtLastTap(StopForward):
    """Ends a run at the last of a network's own taps, and at none that others look at."""


@dataclass(frozen=True, slots=True)
class End:
    """Where a network ends: the whole one's hierarchy, the depth of the last unit that is kept, and
    the taps whose features the new head gets.
    """

    hierarchy: Hierarchy
    depth: int
    taps: tuple[Tap, ...]

    @property
    def shape(self) -> Shape:
        """Of what the head gets for one image: the output of one unit, or features of several."""
        if len(self.taps) == 1:
            return self.taps[0].shape
        return (1, sum(tap.features for tap in self.taps))

    @property
    def dimension(self) -> int:
        """Which dimension of it holds features."""
        return self.taps[0].dimension if len(self.taps) == 1 else 1

    def units(self) -> Iterator[Unit]:
        """Those that are kept. Where features of one pass the later ones by, these begin at no cut
        any more.
        """
        tapped = {tap.unit for tap in self.taps}
        passed = False
        for unit in self.hierarchy.units[: self.depth + 1]:
            yield replace(unit, cut=unit.cut and not passed)
            passed = passed or unit.name in tapped


def find_end(
    module: nn.Module,
    hierarchy: Hierarchy,
    depths: Sequence[int],
    input_size: InputSize,
    build: Callable[[tuple[int, int]], nn.Module],
) -> End:
    """Look at what leaves the units at ``depths`` of ``module``, which is on the meta device; one
    more than there are units is before the head.

    ``module`` is not truncated yet, ``input_size`` (C, H, W) one that it takes; ``build`` gives the
    same network on the meta device for images of another height and width.

    Raises:
        Unsupported: One of them cannot be pooled; the message says why.
    """
    points = dict(_point(module, hierarchy, depth, input_size) for depth in depths)
    deepest = min(max(depths), len(hierarchy.units) - 1)
    images = torch.zeros(1, *input_size, device="meta")
    _check_last(module, hierarchy, deepest, points, images)
    taps = taps_at(module, hierarchy, points, images, build)
    for unit, tap in taps.items():
        if isinstance(tap, str):
            raise Unsupported(
                f"{hierarchy.architecture} cannot be truncated at {unit}: its output {tap}"
            )
    return End(hierarchy, deepest, tuple(cast(Mapping[str, Tap], taps).values()))


def truncate(module: nn.Module, end: End) -> None:
    """End ``module`` at the taps: it gives the unit's output averaged over all positions, or those
    of several units beside each other.

    The head is put there by `zoo.backbones.pooling.add_pooled_head`.
    """
    for tap in end.taps:
        if tap.at_input:  # of the old head: in its place, what still is called
            module.set_submodule(tap.path, nn.Identity())
    for path in _unneeded(module, end):
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, None)
    # On the instance, and copied and pickled with it.
    module.forward = partial(_run_to, module, end.taps, tuple(module._forward_hooks.values()))
    features = end.shape[end.dimension]
    add_pooled_head(module, features, lambda _: nn.Identity(), end.dimension)


def truncated_hierarchy(end: End, module: nn.Module, head: str) -> Hierarchy:
    """The hierarchy of ``module``, which was truncated at ``end``, with a head at path ``head``."""
    part = module.get_submodule(head)
    parameters = tuple(f"{head}.{name}" for name, _ in part.named_parameters())
    device = next(module.parameters()).device
    with torch.no_grad():
        output = part.eval()(torch.zeros(end.shape, device=device))
    return Hierarchy(
        architecture=end.hierarchy.architecture,
        units=tuple(end.units()),
        head=HeadPart(
            modules=(head,),
            parameters=parameters,
            buffers=tuple(f"{head}.{name}" for name, _ in part.named_buffers()),
            params=sum(parameter.numel() for parameter in part.parameters()),
            shape=tuple(output.shape),
            cut=True,  # it gets what the taps give, and nothing else
        ),
    )


def _run_to(
    module: nn.Module, taps: Sequence[Tap], after: Sequence[Hook], *args: object, **kwargs: object
) -> Tensor | None:
    """What leaves the module at the one tap, and its activation, in a run of ``module`` as its
    class has it, with the hooks that its plugin put ``after`` that; or the features at several,
    (N, F).
    """
    parts: dict[str, Tensor | None] = {}

    def keep(tap: Tap, tensor: Tensor | None) -> None:
        parts[tap.unit] = _given(tap, tensor, pooled=len(taps) > 1)
        if len(parts) == len(taps):
            raise _StopAtLastTap

    # The hooks are set for each run, so that they come after all others.
    with ExitStack() as hooks, suppress(_StopAtLastTap):
        for tap in taps:
            if tap.path:
                see = partial(keep, tap)
                hooks.enter_context(hook(module, tap.path, tap.at_input, see))
        output = type(module).forward(module, *args, **kwargs)
        for change in after:
            changed = change(module, args, output)
            output = output if changed is None else changed
        for tap in taps:
            if not tap.path:  # an encoder's own output
                keep(tap, the_tensor(output))
        missing = next(tap for tap in taps if tap.unit not in parts)
        raise RuntimeError(f"{type(module).__name__} did not reach {missing.path}")
    if len(taps) == 1:
        return parts[taps[0].unit]
    return torch.cat([cast(Tensor, parts[tap.unit]) for tap in taps], dim=1)


def _given(tap: Tap, tensor: Tensor | None, *, pooled: bool) -> Tensor | None:
    if tensor is not None and tap.activation:
        tensor = tap.activation(tensor)
    if tensor is None or not pooled:
        return tensor
    # A tensor of its own: what comes next in the network may write into the other.
    return averaged(tensor, tap.dimension).clone()


def _point(
    module: nn.Module, hierarchy: Hierarchy, depth: int, input_size: InputSize
) -> tuple[str, HookPoint]:
    """The unit at a depth, and where its features are."""
    if depth < len(hierarchy.units):
        path = _last_module(module, hierarchy, depth, input_size)
        return hierarchy.units[depth].name, HookPoint(path, at_input=False)
    head = hierarchy.head.modules
    return HEAD, HookPoint(head[0], at_input=True) if head else HookPoint("", at_input=False)


def _last_module(module: nn.Module, hierarchy: Hierarchy, depth: int, input_size: InputSize) -> str:
    """The last module of a unit through which what it computes goes.

    Modules without parameters are counted to the unit that they follow in time. That may be a
    shortcut's, which hands on what entered, or the padding of the next layer.
    """
    modules = hierarchy.units[depth].modules
    last = [modules[0], *parametric(module, modules)][-1]
    following = modules[modules.index(last) + 1 :]
    if not following:
        return last
    recording = record(module, torch.zeros(1, *input_size, device="meta"))
    call = recording.calls[last][-1]
    computed = set(call.outputs)
    for operation in recording.operations:
        if operation.time > call.end and computed.intersection(operation.reads):
            computed.update(operation.writes)
    later = _later(hierarchy, depth)
    for path in following:
        call = recording.calls[path][0]
        # Several tensors are tables made of coordinates, and not what the next unit gets.
        if call.shape and computed.issuperset(call.outputs) and not under(path, later):
            last = path
    return last


@torch.no_grad()
def _check_last(
    module: nn.Module,
    hierarchy: Hierarchy,
    depth: int,
    points: Mapping[str, HookPoint],
    images: Tensor,
) -> None:
    """See that nothing of what is to go, behind unit ``depth``, runs before the last of the points
    is reached.
    """
    entered: list[str] = []
    left = list(points)

    def reach(name: str, _: Tensor | None) -> None:
        if left == [name]:
            raise StopForward
        left[:] = [other for other in left if other != name]

    with ExitStack() as hooks, suppress(StopForward):
        for name, point in points.items():
            see = partial(reach, name)
            hooks.enter_context(hook(module, point.path, point.at_input, see))
        for path in _later(hierarchy, depth):
            child = module.get_submodule(path)
            note = child.register_forward_pre_hook(lambda *_, path=path: entered.append(path))
            hooks.enter_context(note)
        module.eval()(images)
    if entered:
        raise Unsupported(
            f"{hierarchy.architecture} cannot be truncated at {left[-1]}: "
            f"{entered[0]} runs before that ends"
        )


def _unneeded(module: nn.Module, end: End) -> Iterator[str]:
    """Paths of the modules, parameters and buffers that are no longer needed, none of them
    within another.
    """
    units = end.hierarchy.units[: end.depth + 1]
    paths = [path for unit in units for path in unit.modules]
    paths += [tap.path for tap in end.taps if tap.path]
    names = {name for unit in units for name in (*unit.parameters, *unit.buffers)}
    later = _later(end.hierarchy, end.depth)
    unneeded: list[str] = []
    for path, child in module.named_modules():
        if not path or under(path, [*unneeded, *paths]):
            continue
        if any(inner.startswith(f"{path}.") for inner in paths):
            continue
        if isinstance(child, nn.ModuleList):
            continue  # code that loops over it must find as many in it; its members are removed
        tensors = [name for name, _ in (*child.named_parameters(), *child.named_buffers())]
        if path in later or (tensors and not any(f"{path}.{name}" in names for name in tensors)):
            unneeded.append(path)
    yield from unneeded
    for name, _ in (*module.named_parameters(), *module.named_buffers()):
        if name not in names and not under(name, unneeded):
            yield name


def _later(hierarchy: Hierarchy, depth: int) -> list[str]:
    """Paths of the modules of the head, and of the units after ``depth``."""
    later = list(hierarchy.head.modules)
    return later + [path for unit in hierarchy.units[depth + 1 :] for path in unit.modules]
