"""Units of a stored checkpoint: which tensor belongs to which, without building the network."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

from zoo import plugins
from zoo.domain.hierarchy import Hierarchy, under
from zoo.domain.manifest import Backbone
from zoo.errors import BrokenPlugin, MissingPackage, UnknownName
from zoo.store.files import group_of
from zoo.workspace import Workspace

__all__ = ["HEAD", "Units", "in_order", "units_of"]

HEAD = "head"


@dataclass(frozen=True)
class Units:
    """Where the tensors of a checkpoint belong.

    Attributes:
        hierarchy: Of its architecture, if it was traced here; None: units are read off the names of
            tensors, and their order is that of the names.
    """

    hierarchy: Hierarchy | None = field(default=None)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the units in order of execution, `HEAD` last; empty where unknown."""
        if self.hierarchy is None:
            return ()
        return (*(unit.name for unit in self.hierarchy.units), HEAD)

    @cached_property
    def stages(self) -> dict[str, str]:
        """The stage of each unit."""
        return {unit.name: unit.stage for unit in self.hierarchy.units} if self.hierarchy else {}

    @cached_property
    def tensors(self) -> dict[str, str]:
        """The unit of each tensor that the architecture itself has; empty where unknown."""
        if self.hierarchy is None:
            return {}
        parts = [(unit.name, unit) for unit in self.hierarchy.units]
        known = {name: part for part, unit in parts for name in (*unit.parameters, *unit.buffers)}
        head = self.hierarchy.head
        return known | dict.fromkeys((*head.parameters, *head.buffers), HEAD)

    def unit_of(self, tensor: str) -> str:
        """The unit of a tensor, by its name."""
        if tensor in self.tensors:
            return self.tensors[tensor]
        if self.hierarchy is not None:
            if under(tensor, self.hierarchy.head.modules):  # of another kind than the native one
                return HEAD
            for unit in self.hierarchy.units:
                if under(tensor, unit.modules):
                    return unit.name
        return group_of(tensor, 2)[0]

    def frozen(self, boundary: str) -> tuple[str, ...]:
        """The units before ``boundary``, nearest the input first; empty where that is unknown."""
        return self.names[: self.names.index(boundary)] if boundary in self.names else ()


def units_of(workspace: Workspace, backbone: Backbone) -> Units:
    """The units of a network, by what the registry keeps of its architecture."""
    try:
        version = plugins.backbone_version(backbone.plugin)
    except (BrokenPlugin, MissingPackage, UnknownName):
        return Units()
    return Units(workspace.registry.hierarchy(backbone.plugin, version, backbone.architecture))


def in_order(found: set[str], *known: Units) -> list[str]:
    """Names of units as the networks run, the head last; what no network knows by its name."""
    order = list(dict.fromkeys(name for units in known for name in units.names if name != HEAD))
    listed = [name for name in order if name in found]
    rest = sorted(found - set(order) - {HEAD}, key=_natural)
    return listed + rest + [HEAD] * (HEAD in found)


def _natural(name: str) -> list[tuple[int, str]]:
    """``blocks.10`` after ``blocks.9``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
