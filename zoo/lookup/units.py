"""Units of a stored checkpoint: which tensor belongs to which, without building the network."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

from zoo import plugins
from zoo.domain.adapter import adapter_of
from zoo.domain.hierarchy import Hierarchy, Unit, under
from zoo.domain.manifest import Backbone, Manifest
from zoo.errors import BrokenPlugin, MissingPackage, UnknownName
from zoo.store.files import group_of
from zoo.tensor_names import names_among
from zoo.workspace import Workspace

__all__ = [
    "HEAD",
    "PLAIN",
    "Units",
    "adapted_units",
    "in_order",
    "network_of",
    "traced_network",
    "units_in",
    "units_like",
    "units_of",
]

HEAD = "head"
PLAIN = {"num_classes", "image_size", "channels", "lora"}
"""Options of a backbone that leave its units as its architecture has them."""


@dataclass(frozen=True)
class Units:
    """Where the tensors of a checkpoint belong.

    Attributes:
        hierarchy: Of its network, if that was traced here; None: units are read off the names of
            tensors, and their order is that of the names.
        own: What the network calls a tensor, by its name in the files where that is another.
    """

    hierarchy: Hierarchy | None = field(default=None)
    own: Mapping[str, str] = field(default_factory=dict)

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

    def own_name(self, tensor: str) -> str:
        """What the network calls a tensor, by its name in the files."""
        return self.own.get(tensor, tensor)

    def unit_of(self, tensor: str) -> str:
        """The unit of a tensor, by its name in the files."""
        tensor = self.own_name(tensor)
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


def units_of(workspace: Workspace, manifest: Manifest) -> Units:
    """The units of a checkpoint, by what the registry keeps of its network."""
    backbone, names = manifest.backbone, [tensor.name for tensor in manifest.tensors]
    if backbone.options.keys() - PLAIN and (known := traced_network(workspace, manifest)):
        return _with_names(backbone.plugin, known, names)
    return units_like(workspace, backbone, names)


def adapted_units(workspace: Workspace, manifest: Manifest) -> tuple[str, ...]:
    """The units that the adapter of a checkpoint corrects; empty where it has none."""
    adapter = adapter_of(manifest)
    if adapter is None:
        return ()
    units = units_of(workspace, manifest)
    return tuple(in_order({units.unit_of(f"{layer}.weight") for layer in adapter.layers}, units))


def traced_network(workspace: Workspace, manifest: Manifest) -> Hierarchy | None:
    """The hierarchy of a checkpoint's own network, at its own size and with its own head, as the
    registry keeps it; None if that was not traced here.
    """
    plugin = manifest.backbone.plugin
    with suppress(BrokenPlugin, MissingPackage, UnknownName):
        version = plugins.backbone_version(plugin)
        return workspace.registry.network(plugin, version, network_of(manifest))
    return None


def units_like(workspace: Workspace, backbone: Backbone, names: Collection[str]) -> Units:
    """The units of a network with tensors of these names, by what the registry keeps of its
    architecture, or else its plugin knows without its library: those that have one.
    """
    plugin, architecture = backbone.plugin, backbone.architecture
    try:
        version = plugins.backbone_version(plugin)
        known = workspace.registry.hierarchy(plugin, version, architecture)
        known = known or _outlined(plugin, architecture)
    except (BrokenPlugin, MissingPackage, UnknownName):
        return Units()
    if known is None:
        return Units()
    units = _with_names(backbone.plugin, known, names)
    if not backbone.options.keys() - PLAIN:
        return units
    there = {units.own_name(name) for name in names}
    return replace(units, hierarchy=replace(known, units=units_in(known.units, there)))


def _outlined(plugin: str, architecture: str) -> Hierarchy | None:
    known = plugins.known(plugin)
    with plugins.blaming("zoo.backbones", plugin):
        outline = known.outline(architecture) if known else None
    return outline.hierarchy if outline else None


def units_in(units: Iterable[Unit], names: Collection[str]) -> tuple[Unit, ...]:
    """Those of the units of an architecture that a network with tensors of these names has."""
    return tuple(unit for unit in units if _is_in(unit, set(names)))


def _is_in(unit: Unit, names: set[str]) -> bool:
    # By the module that it is named after: the last block, say, holds the final norm, too.
    named = [name for name in unit.parameters if under(name, (unit.name,))] or unit.parameters
    return not named or not names.isdisjoint(named)


def _with_names(plugin: str, hierarchy: Hierarchy, names: Collection[str]) -> Units:
    own = names_among(plugin, names, Units(hierarchy).tensors)
    return Units(hierarchy, {name: one for name, one in own.items() if name != one})


def network_of(manifest: Manifest) -> str:
    """All that `zoo.backbones.load.build` makes a checkpoint's network of, and the size that it is
    traced at: what the registry keeps its hierarchy under.

    Raises:
        UnknownName, BrokenPlugin: The plugin of its head is not here, or is two.
    """
    backbone, head = manifest.backbone, manifest.head
    by = "" if head.kind == "native" else plugins.origin("zoo.heads", head.kind)
    network = {
        "architecture": backbone.architecture,
        "options": {key: value for key, value in backbone.options.items() if key != "lora"},
        "head": [head.kind, head.num_classes, by],
        "input_size": manifest.preprocessing.input_size,
    }
    return json.dumps(network, sort_keys=True, separators=(",", ":"))


def in_order(names: set[str], *known: Units) -> list[str]:
    """Names of units as the networks run, the head last; what no network knows by its name."""
    order = list(dict.fromkeys(name for units in known for name in units.names if name != HEAD))
    listed = [name for name in order if name in names]
    rest = sorted(names - set(order) - {HEAD}, key=_natural)
    return listed + rest + [HEAD] * (HEAD in names)


def _natural(name: str) -> list[tuple[int, str]]:
    """``blocks.10`` after ``blocks.9``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
