"""Truncate a network: end it after one of its units, and pool what leaves that unit.

An activation that directly follows is part of what is kept, as it is of features.

The run ends early, by an exception that the network itself catches, so that any network can be
truncated, whatever its code does after the unit. What is left out is None in its place: the names
of the rest stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from zoo.backbones.freeze import parametric
from zoo.backbones.pooling import add_pooled_head, the_tensor
from zoo.backbones.record import record
from zoo.backbones.taps import Activation, HookPoint, Reached, Tap, taps_at
from zoo.domain.hierarchy import HeadPart, Hierarchy, InputSize, under
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
    input_size: InputSize,
    build: Callable[[tuple[int, int]], nn.Module],
) -> End:
    """Look at what leaves unit ``depth`` of ``module``, which is on the meta device.

    ``module`` is not truncated yet, ``input_size`` (C, H, W) one that it takes; ``build`` gives the
    same network on the meta device for images of another height and width.

    Raises:
        Unsupported: Its output cannot be pooled; the message says why.
    """
    path = _last_module(module, hierarchy, depth, input_size)
    _check_last(module, hierarchy, depth, path, input_size)
    unit = hierarchy.units[depth].name
    images = torch.zeros(1, *input_size, device="meta")
    points = {unit: HookPoint(path, at_input=False)}
    tap = taps_at(module, hierarchy, points, images, build)[unit]
    if isinstance(tap, str):
        raise Unsupported(
            f"{hierarchy.architecture} cannot be truncated at {unit}: its output {tap}"
        )
    return End(hierarchy, depth, tap)


def truncate(module: nn.Module, end: End) -> None:
    """End ``module`` after the last unit: it gives the unit's output averaged over all positions.

    The head is put there by `zoo.backbones.pooling.add_pooled_head`.
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


def _stop(_: nn.Module, __: object, output: object) -> None:
    raise Reached(output)


def _run_to(
    module: nn.Module,
    path: str,
    *args: object,
    activation: Activation | None = None,
    **kwargs: object,
) -> Tensor | None:
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
    module: nn.Module, hierarchy: Hierarchy, depth: int, path: str, input_size: InputSize
) -> None:
    """See that nothing of what is to go runs before the module at ``path`` returns."""
    entered: list[str] = []
    with ExitStack() as hooks, suppress(Reached):
        for later in _later(hierarchy, depth):
            child = module.get_submodule(later)
            note = child.register_forward_pre_hook(lambda *_, path=later: entered.append(path))
            hooks.enter_context(note)
        hooks.enter_context(module.get_submodule(path).register_forward_hook(_stop))
        module.eval()(torch.zeros(1, *input_size, device="meta"))
    if entered:
        raise Unsupported(
            f"{hierarchy.architecture} cannot be truncated at {hierarchy.units[depth].name}: "
            f"{entered[0]} runs before that ends"
        )


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
