"""Hierarchy: the ordered units of a network. Pure data, no torch."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import ClassVar, Self

from zoo.domain.plain import Json
from zoo.domain.result import Result
from zoo.errors import InvalidFreeze, UnknownName

__all__ = ["TRACE_VERSION", "HeadPart", "Hierarchy", "InputSize", "Unit", "tuples", "under"]

InputSize = tuple[int, int, int]
"""Channels, height, width of an image that a network takes."""

TRACE_VERSION = 5
"""Goes up when `zoo.backbones.trace` gives the same network another hierarchy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One step of depth: the smallest group of modules that is frozen together.

    Attributes:
        name: The module that the unit is named after (``blocks.7``, ``conv_stem``).
        stage: The stage it belongs to; consecutive units share one.
        depth: Place in execution order, 0 = nearest the input.
        modules: Paths of its modules, in execution order; the first is where data enters.
        parameters: Names of all its parameters.
        buffers: Names of all its buffers.
        params: Number of parameter elements.
        shape: Shape of what leaves the unit for a batch of one at the native input size;
            None where that is not a single tensor.
        cut: Whether the boundary before this unit is a cut: the network can be entered here,
            because all data that later units need passes through it.
        macs: Multiply-accumulates for a batch of one at that size, of convolutions and products of
            matrices; None where it was traced by a version that did not count them.
    """

    _COLUMNS: ClassVar = ("depth", "stage", "name", "params", "shape", "cut")

    name: str
    stage: str
    depth: int
    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    params: int
    shape: tuple[int, ...] | None
    cut: bool
    macs: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPart:
    """The modules from features to the output: ``modules`` (none in an encoder), ``parameters``,
    ``buffers``, ``params``, ``cut`` (of the boundary before it) and ``macs`` as in `Unit`, and the
    ``shape`` of the network's output for a batch of one.
    """

    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    params: int
    shape: tuple[int, ...] | None
    cut: bool
    macs: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Hierarchy(Result):
    """The ordered units of one architecture, and its head."""

    architecture: str
    units: tuple[Unit, ...]
    head: HeadPart

    @property
    def params(self) -> int:
        """Number of parameter elements in the whole network."""
        return sum(unit.params for unit in self.units) + self.head.params

    @property
    def stages(self) -> tuple[str, ...]:
        """Stage names in execution order."""
        return tuple(dict.fromkeys(unit.stage for unit in self.units))

    def boundary(self, spec: str) -> int:
        """How many units, counted from the input, the freeze ``spec`` keeps fixed.

        ``none`` and ``all`` speak for themselves; a unit or stage name freezes up to and including
        it; ``6`` freezes six units; ``-2`` all but the last two; ``75%`` a share of the units,
        rounded down. Shares count units, never parameters.

        Raises:
            InvalidFreeze: The spec is none of these, or reaches past the network.
        """
        spec = spec.strip()
        depth = len(self.units)
        if spec == "none":
            return 0
        if spec == "all":
            return depth
        if match := re.fullmatch(r"(\d+(?:\.\d+)?)%", spec):
            share = float(match[1])
            if share > 100:
                raise InvalidFreeze(spec, "a share is at most 100%")
            # What is left out of a whole number by rounding, as 28.999… of 100 * 0.29, is added.
            return int(depth * share / 100 + 1e-9)
        if re.fullmatch(r"-?\d+", spec):
            count = int(spec)
            if abs(count) > depth:
                raise InvalidFreeze(spec, f"{self.architecture} has {depth} units")
            return depth + count if spec.startswith("-") else count
        try:
            return self.find(spec).depth + 1
        except UnknownName as error:
            reason = f"{self.architecture} has no unit or stage of that name"
            raise InvalidFreeze(spec, reason, error.near) from None

    def find(self, name: str, *, stages: bool = True, also: Iterable[str] = ()) -> Unit:
        """The unit of that name, or the last one of a stage; with ``stages`` off, of a unit only.
        What ``also`` could be asked for is suggested, too.

        Raises:
            UnknownName: There is none; near names are suggested.
        """
        for unit in self.units:
            if unit.name == name:
                return unit
        in_stage = [unit for unit in self.units if stages and unit.stage == name]
        if in_stage:
            return in_stage[-1]
        known = [*(self.stages if stages else ()), *(u.name for u in self.units), *also]
        near = difflib.get_close_matches(name, dict.fromkeys(known), n=4, cutoff=0.4)
        kind = f"unit{' or stage' if stages else ''} of {self.architecture}"
        raise UnknownName(kind, name, near, "" if near else "zoo tree lists them")

    def cut_below(self, boundary: int) -> int:
        """The deepest cut at or below ``boundary``; 0, where images enter, always is one."""
        cuts = [unit.depth for unit in self.units[: boundary + 1] if unit.cut]
        if boundary == len(self.units) and self.head.cut:
            cuts.append(boundary)
        return max(cuts, default=0)

    def boundary_name(self, boundary: int) -> str:
        """The unit whose entrance is the boundary after ``boundary`` frozen units, or ``head``."""
        return self.units[boundary].name if boundary < len(self.units) else "head"

    def to_json(self) -> Json:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """Inverse of `to_json`."""
        return cls(
            architecture=data["architecture"],
            units=tuple(Unit(**tuples(unit)) for unit in data["units"]),
            head=HeadPart(**tuples(data["head"])),
        )


def under(path: str, roots: Sequence[str]) -> bool:
    """Whether a module, or what it holds, is one of ``roots`` or lies in one."""
    return any(path == root or path.startswith(f"{root}.") for root in roots)


def tuples(data: Mapping[str, object]) -> Json:
    """What JSON has as lists, as the tuples that they were."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
