"""Truncate a network: end it after one of its units, and pool what leaves that unit.

An activation that directly follows is part of what is kept, as it is of features.

The run ends early, by an exception that the network itself catches, so that any network can be
truncated, whatever its code does after the unit. What is left out is None in its place: the names
of the rest stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from zoo.backbones.activation import Activation
from zoo.backbones.pooled_head import add_pooled_head
from zoo.backbones.pooling import Shape, feature_dimension, the_tensor
from zoo.backbones.record import record
from zoo.backbones.taps import HookPoint, Reached, Tap, seen_once, watch
from zoo.domain.hierarchy import HeadPart, Hierarchy, under
from zoo.errors import Unsupported

__all__ = ["End", "find_end", "truncate", "truncated_hierarchy"]


@dataclass(frozen=True, slots=True)
class End:
    """Where a network ends: the whole one's hierarchy, the depth of the last unit that is kept, and
    the tap behind that.
    """

    hierarchy: Hierarchy
    depth: int
    tap: Tap


def find_end(
    module: nn.Module,
    hierarchy: Hierarchy,
    depth: int,
    input_size: tuple[int, int, int],
    build: Callable[[tuple[int, int]], nn.Module],
) -> End:
    """Look at what leaves unit ``depth`` of ``module``, which is on the meta device.

    Args:
        module: The network, not truncated.
        hierarchy: Its hierarchy.
        depth: The last unit to keep.
        input_size: Channels, height, width of an image that it takes.
        build: The same network on the meta device for images of another height and width.

    Raises:
        Unsupported: Its output cannot be pooled; the message says why.
    """
    path = _last_module(module, hierarchy, depth, input_size)
    _check_last(module, hierarchy, depth, path, input_size)
    shape, activation = _output_of(module, hierarchy, path, input_size)
    channels, height, width = input_size
    larger: Shape | None = None
    # Networks for one image size only, or whose code refuses twice that.
    with suppress(AssertionError, RuntimeError, Unsupported, ValueError):
        size = (2 * height, 2 * width)
        larger, _ = _output_of(build(size), hierarchy, path, (channels, *size))
    dimension = feature_dimension(shape, larger, shape)
    if dimension is None:
        raise Unsupported(
            f"{hierarchy.architecture} cannot be truncated at {hierarchy.units[depth].name}: which "
            f"dimension of its output {shape} holds features is not clear"
        )
    tap = Tap(
        unit=hierarchy.units[depth].name, path=path, at_input=False, shape=shape,
        dimension=dimension, activation=activation,
    )  # fmt: skip
    return End(hierarchy, depth, tap)


def truncate(module: nn.Module, end: End) -> None:
    """End ``module`` after the last unit: it gives the unit's output averaged over all positions.

    The head is put there by `zoo.backbones.pooled_head.add_pooled_head`.
    """
    for path in _unneeded(module, end):
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, None)
    # On the instance, and copied and pickled with it.
    tap = end.tap
    module.forward = partial(_run_to, module, tap.path, activation=tap.activation)
    add_pooled_head(module, tap.features, lambda _: nn.Identity(), tap.dimension)


def truncated_hierarchy(end: End, module: nn.Module, head: str) -> Hierarchy:
    """The hierarchy of ``module``, which was truncated at ``end``, with a head at path ``head``."""
    part = module.get_submodule(head)
    parameters = tuple(f"{head}.{name}" for name, _ in part.named_parameters())
    device = next(module.parameters()).device
    with torch.no_grad():
        output = part.eval()(torch.zeros(end.tap.shape, device=device))
    return Hierarchy(
        architecture=end.hierarchy.architecture,
        units=end.hierarchy.units[: end.depth + 1],
        head=HeadPart(
            modules=(head,),
            parameters=parameters,
            buffers=tuple(f"{head}.{name}" for name, _ in part.named_buffers()),
            params=sum(parameter.numel() for parameter in part.parameters()),
            shape=tuple(output.shape),
            cut=True,  # it gets what leaves the last unit, and nothing else
        ),
    )


def _stop(_: nn.Module, __: Any, output: Any) -> None:
    raise Reached(output)


def _run_to(
    module: nn.Module, path: str, *args: Any, activation: Activation | None = None, **kwargs: Any
) -> Any:
    """What leaves the module at ``path``, and ``activation``, in a run of ``module`` as its class
    has it.
    """
    # The hook is set for each run, so that it comes after all others.
    with module.get_submodule(path).register_forward_hook(_stop):
        try:
            type(module).forward(module, *args, **kwargs)
        except Reached as reached:
            output = the_tensor(reached.output)
            return output if activation is None or output is None else activation(output)
    raise RuntimeError(f"{type(module).__name__} did not reach {path}")


def _last_module(
    module: nn.Module, hierarchy: Hierarchy, depth: int, input_size: tuple[int, int, int]
) -> str:
    """The last module of a unit through which what it computes goes.

    Modules without parameters are counted to the unit that they follow in time. That may be a
    shortcut's, which hands on what entered, or the padding of the next layer.
    """
    modules = hierarchy.units[depth].modules
    own = [path for path in modules if any(True for _ in module.get_submodule(path).parameters())]
    last = own[-1] if own else modules[0]
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
    path: str,
    input_size: tuple[int, int, int],
) -> None:
    """See that nothing of what is to go runs before the module at ``path`` returns."""
    entered: list[str] = []
    with ExitStack() as hooks:
        for later in _later(hierarchy, depth):
            hook: Any = lambda _, __, later=later: entered.append(later)  # noqa: E731
            handle = module.get_submodule(later).register_forward_pre_hook(hook)
            hooks.callback(handle.remove)
        hooks.enter_context(module.get_submodule(path).register_forward_hook(_stop))
        with suppress(Reached):
            module.eval()(torch.zeros(1, *input_size, device="meta"))
    if entered:
        raise Unsupported(
            f"{hierarchy.architecture} cannot be truncated at {hierarchy.units[depth].name}: "
            f"{entered[0]} runs before that ends"
        )


def _output_of(
    module: nn.Module, hierarchy: Hierarchy, path: str, input_size: tuple[int, int, int]
) -> tuple[Shape, Activation | None]:
    """The shape of the output of the module at ``path`` for one image on the meta device, and what
    happens to it next, if that is an activation of no unit.
    """
    owned = [path for unit in hierarchy.units for path in unit.modules] + [*hierarchy.head.modules]
    images = torch.zeros(1, *input_size, device="meta")
    seen, behind = watch(module, {path: HookPoint(path, at_input=False)}, owned, images)
    shape = seen_once(seen[path])
    if isinstance(shape, str):
        raise Unsupported(f"a network cannot be truncated at {path}: its output {shape}")
    return shape, behind.get(path)


def _unneeded(module: nn.Module, end: End) -> Iterator[str]:
    """Paths of the modules, parameters and buffers that are no longer needed, none of them
    within another.
    """
    units = end.hierarchy.units[: end.depth + 1]
    paths = [path for unit in units for path in unit.modules]
    names = {name for unit in units for name in (*unit.parameters, *unit.buffers)}
    later = _later(end.hierarchy, end.depth)
    unneeded: list[str] = []
    for path, child in module.named_modules():
        if not path or under(path, unneeded) or _holds(path, paths) or under(path, paths):
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


def _holds(path: str, paths: Sequence[str]) -> bool:
    return any(inner.startswith(f"{path}.") for inner in paths)
