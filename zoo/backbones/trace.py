"""Find the hierarchy of a network by running it once.

Modules are opened from the root down. One that is a mere chain of steps around a list of blocks (a
stage, a Sequential) is opened; one that is not (a residual block, whose shortcut passes by its
inside) is a unit, and so is everything without such a list. Normalization belongs to the step
that it follows, and so does a module that is no step of the data's way: one without parameters, or
whose constants alone make what it gives (a table of positions).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import nn

from zoo.backbones.freeze import parametric
from zoo.backbones.liveness import cuts, depending, is_chain
from zoo.backbones.record import Call, Recording, meta_copy, record
from zoo.domain.hierarchy import HeadPart, Hierarchy, InputSize, Unit, under
from zoo.errors import Unsupported

__all__ = ["trace"]

LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(slots=True)
class _Step:
    """A unit in the making: its modules by time, and the opened module that it was found in."""

    modules: list[str]
    container: str


def trace(
    architecture: str,
    module: nn.Module,
    *,
    input_size: InputSize,
    head: Sequence[str] = (),
    blocks: Collection[type[nn.Module]] = (),
    containers: Collection[type[nn.Module]] = (),
) -> Hierarchy:
    """The hierarchy of ``module``, whose parameters may be on the meta device.

    Args:
        architecture: Name to record.
        module: The network.
        input_size: Channels, height, width of an image that it takes.
        head: Paths of the modules from features to the output.
        blocks: Classes whose instances are units wherever they stand. Those with a shortcut past
            several of their modules are found without it; one past a single module is not.
        containers: Classes whose instances are opened wherever they stand, though they are given or
            give more than their steps hand on, such as position embeddings or a pooled output.

    Raises:
        Unsupported: The network cannot be run on one image, or has no unit.
    """
    try:
        recording = _recording(module, input_size)
    except Exception as error:
        raise Unsupported(f"{architecture} cannot be traced: {error}") from error
    opener = _Opener(module, recording, tuple(head), blocks, containers)
    steps = opener.steps()
    if not steps:
        raise Unsupported(f"{architecture} has no units: all its parameters are in the head")
    return _assemble(architecture, module, recording, steps, tuple(head))


def _recording(module: nn.Module, input_size: InputSize) -> Recording:
    """A run of ``module`` on one image, or of a meta copy of it.

    All that is made in a recorded run is kept until its end: gigabytes for large networks.
    """
    device = next(module.parameters()).device
    if device.type != "meta":
        # Code that reads values, or makes tensors on a device of its own, needs the network itself.
        with suppress(Exception):
            return record(meta_copy(module), torch.zeros(1, *input_size, device="meta"))
    return record(module, torch.zeros(1, *input_size, device=device))


class _Opener:
    """Walks the calls of a recording and decides which modules to open."""

    def __init__(
        self,
        module: nn.Module,
        recording: Recording,
        head: tuple[str, ...],
        blocks: Collection[type[nn.Module]],
        containers: Collection[type[nn.Module]],
    ) -> None:
        self.modules = dict(module.named_modules())
        self.recording = recording
        self.head = head
        data = depending(recording)
        self.parametric = {*parametric(module, self.modules)}
        for path, child in self.modules.items():
            calls = recording.calls.get(path, ())
            uses_data = not calls or any(not data.isdisjoint(call.outputs) for call in calls)
            if uses_data and any(True for _ in child.buffers()):
                self.parametric.add(path)
        # Containers win: they are opened although their shortcut makes them look like blocks.
        self.atomic = {*blocks, *self._atomic_classes()} - {*containers}
        self.units: list[_Step] = []
        self.seen: set[str] = set()
        self.idle: list[str] = []  # modules that are no steps and ran since the last step

    def steps(self) -> list[_Step]:
        """The units, with their modules, in execution order."""
        self._open(self.recording.root)
        return self.units

    def _open(self, call: Call) -> None:
        first = len(self.units)
        norms: list[str] = []  # those that come before the first step of their container
        for child in call.children:
            path = child.path
            if path in self.seen or under(path, self.head):
                continue
            self.seen.add(path)
            if path not in self.parametric:
                (norms or self.idle).append(path)
            elif child is not self.recording.calls[path][0]:
                continue  # shared: it belongs to the unit inside which it ran first (CoaT)
            elif self._is_norm(path) and len(self.units) > first:
                self._extend(path)
            elif self._is_norm(path):
                norms += [*self.idle, path]
                self.idle = []
            elif self._opens(child):
                norms = self._open_after(norms, child)
            else:
                self._begin([*norms, path], call.path)
                norms = []
        self._place(norms, call)
        self._name_after_container(call, first)

    def _open_after(self, norms: list[str], call: Call) -> list[str]:
        """Open a container; ``norms`` go to its first step, or come back if it has none."""
        before = len(self.units)
        self._open(call)
        if len(self.units) == before:
            return norms
        self.units[before].modules[:0] = norms
        return []

    def _place(self, norms: list[str], call: Call) -> None:
        """Give norms that no step followed to the last step there is, or make them one."""
        while norms and norms[-1] not in self.parametric:
            self.idle.insert(0, norms.pop())
        if norms and self.units:
            self.units[-1].modules += norms
        elif norms:
            self._begin(norms, call.path)

    def _begin(self, modules: list[str], container: str) -> None:
        if self.units:
            self._extend()
        else:
            modules, self.idle = [*self.idle, *modules], []
        self.units.append(_Step(modules, container))

    def _extend(self, *modules: str) -> None:
        """Give the last step what ran since, then ``modules``."""
        self.units[-1].modules += [*self.idle, *modules]
        self.idle = []

    def _name_after_container(self, call: Call, first: int) -> None:
        """A container of leaves that gave one step (convolution and norm) is that step."""
        mine = self.units[first:]
        if not call.parent or len(mine) != 1 or any(under(p, [call.path]) for p in self.head):
            return
        inner = [path for path in mine[0].modules if under(path, [call.path])]
        if inner != mine[0].modules or any(list(self.modules[p].children()) for p in inner):
            return
        self.units[first] = _Step([call.path], call.parent.path)

    def _opens(self, call: Call) -> bool:
        module = self.modules[call.path]
        if any(under(path, [call.path]) for path in self.head):
            return True  # features and head in one module: what comes before the head is no head
        if len(self.recording.calls[call.path]) > 1 or type(module) in self.atomic:
            return False
        return self._has_list(call.path)

    def _has_list(self, path: str) -> bool:
        """Whether it holds a list of blocks: a container, or children that are alike."""
        module = self.modules[path]
        if any(
            isinstance(child, LISTS) and any(True for _ in child.parameters())
            for child in module.modules()
        ):
            return True
        kinds = Counter(
            type(child)
            for name, child in module.named_children()
            if list(child.children()) and not self._is_norm(f"{path}.{name}")
        )
        return max(kinds.values(), default=0) > 1

    def _atomic_classes(self) -> set[type[nn.Module]]:
        """Classes of which some instance is no chain: a block's class, even where one block
        happens to have no shortcut.
        """
        classes: set[type[nn.Module]] = set()
        for path, calls in self.recording.calls.items():
            children = [child for child in calls[0].children if child.path in self.parametric]
            kind = type(self.modules[path])
            if not path or kind in classes or len(children) < 2 or kind is nn.Sequential:
                continue
            if not is_chain(self.recording.operations, calls[0], children):
                classes.add(kind)
        return classes

    def _is_norm(self, path: str) -> bool:
        module = self.modules[path]
        if any(under(part, [path]) for part in self.head):
            return False  # a head that begins with a norm, built without classes (HieraDet)
        return "norm" in type(module).__name__.lower() and not any(
            parameter.dim() > 1 and max(parameter.shape) < parameter.numel()
            for parameter in module.parameters()
        )


def _assemble(
    architecture: str,
    module: nn.Module,
    recording: Recording,
    steps: list[_Step],
    head: tuple[str, ...],
) -> Hierarchy:
    tensors = _tensors(module, _owners(module, recording, steps, head))
    called = [_calls(recording, step.modules, module) for step in steps]
    in_head = _calls(recording, [path for path in head if path in recording.calls], module)
    cut = cuts(recording, [*called, in_head] if in_head else called)
    names = [_name(step, module) for step in steps]
    macs = _macs(recording, steps, head)
    units = tuple(
        Unit(
            name=name,
            stage=stage,
            depth=depth,
            modules=tuple(step.modules),
            shape=recording.calls[step.modules[-1]][-1].shape,
            cut=cut[depth],
            macs=macs[depth],
            **tensors[depth],
        )
        for depth, (step, name, stage) in enumerate(zip(steps, names, _stages(names), strict=True))
    )
    head_part = HeadPart(
        modules=head,
        shape=recording.root.shape,
        cut=len(cut) > len(steps) and cut[-1],
        macs=macs[None],
        **tensors[None],
    )
    return Hierarchy(architecture=architecture, units=units, head=head_part)


def _macs(recording: Recording, steps: list[_Step], head: tuple[str, ...]) -> Counter[int | None]:
    """The multiply-accumulates of each unit; None: of the head. What is computed in no module of
    either belongs to the unit that had run last.
    """
    counts = Counter[int | None]()
    parts = [*((path, depth) for depth, step in enumerate(steps) for path in step.modules)]
    within = [
        (call.start, call.end, depth)
        for path, depth in [*parts, *((path, None) for path in head)]
        for call in recording.calls.get(path, ())
    ]
    last: int | None = 0
    for operation in recording.operations:
        if operation.macs:
            time = operation.time
            last = next((depth for start, end, depth in within if start < time <= end), last)
            counts[last] += operation.macs
    return counts


class _Tensors(TypedDict):
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    params: int


def _tensors(module: nn.Module, owned: dict[str, int | None]) -> dict[int | None, _Tensors]:
    """The tensors of each unit; None: of the head."""
    parts = defaultdict[int | None, _Tensors](lambda: _Tensors(parameters=(), buffers=(), params=0))
    for name, parameter in module.named_parameters():
        part = parts[owned[name]]
        part["parameters"] += (name,)
        part["params"] += parameter.numel()
    for name, _ in module.named_buffers():
        parts[owned[name]]["buffers"] += (name,)
    return parts


def _calls(recording: Recording, modules: Sequence[str], module: nn.Module) -> list[Call]:
    paths = parametric(module, modules) or modules
    calls = [call for path in paths for call in recording.calls[path]]
    return sorted(calls, key=lambda call: call.start)


def _owners(
    module: nn.Module, recording: Recording, steps: list[_Step], head: tuple[str, ...]
) -> dict[str, int | None]:
    """The depth of the unit of each parameter and buffer; None for the head's.

    One that lies outside the units' modules (a position embedding, a class token) belongs to the
    unit that was running, or had run last, when it was first used. One that the run never used
    goes with its neighbor of the same kind.
    """
    starts = [_calls(recording, step.modules, module)[0].start for step in steps]
    first_use: dict[str, int] = {}
    for op in recording.operations:
        for storage in op.reads:
            for name in recording.names.get(storage, ()):
                first_use.setdefault(name, op.time)
    owners: dict[str, int | None] = {}
    last = 0
    for name, _ in (*module.named_parameters(), *module.named_buffers()):
        if under(name, head):
            owners[name] = None
            continue
        depth = next((d for d, step in enumerate(steps) if under(name, step.modules)), None)
        if depth is None and name in first_use:
            depth = max(sum(start <= first_use[name] for start in starts) - 1, 0)
        last = last if depth is None else depth
        owners[name] = last
    return owners


def _name(step: _Step, module: nn.Module) -> str:
    """The module with the most parameters lends its name: ``conv_stem`` rather than ``bn1``."""

    def weight(path: str) -> int:
        return sum(math.prod(p.shape) for p in module.get_submodule(path).parameters())

    return max(step.modules, key=weight)


def _stages(names: list[str]) -> list[str]:
    """A stage is the numbered member of a list (``stages.1``), or the list itself where its
    members are the units (``layer1``, ``blocks``). Single steps before the first are the stem.
    """
    listed = [_stage(name) for name in names]
    first = next((i for i, stage in enumerate(listed) if stage), 0)
    stages: list[str] = []
    for index, name in enumerate(names):
        stage = listed[index] or ("stem" if index < first else name)
        if stage in stages and stages[-1] != stage:
            stage = name  # a stage is never taken up again
        stages.append(stage)
    return stages


def _stage(name: str) -> str | None:
    parts = name.split(".")
    for index, part in enumerate(parts[:-1]):
        if part.isdigit():
            return ".".join(parts[: index + 1])
    return ".".join(parts[:-1]) or None
