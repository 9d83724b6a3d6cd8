"""Describe an architecture: its hierarchy, from the registry or by tracing it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import suppress

from zoo import plugins
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.outline import Outline
from zoo.errors import DiskFull, InvalidFreeze, Unavailable, UnknownName
from zoo.registry import Registry

__all__ = ["describe", "outline_of", "traced", "unit_named"]

LISTED = "zoo tree lists them"


def describe(registry: Registry, plugin: str, architecture: str) -> Hierarchy:
    """The hierarchy of an architecture; traced once for each version of its plugin, unless the
    plugin knows it without its library.

    Torch is imported only where there is something to trace.

    Raises:
        UnknownName: No such plugin or architecture.
        Unsupported: The network cannot be traced.
        MissingPackage, BrokenPlugin: The plugin cannot be used, or fails.
    """
    version = plugins.backbone_version(plugin)
    known = registry.hierarchy(plugin, version, architecture)
    if known is not None:
        return known
    outline = outline_of(plugin, architecture)
    hierarchy = outline.hierarchy if outline else traced(plugin, architecture)
    with suppress(DiskFull, Unavailable):  # it is traced again the next time
        registry.keep_hierarchy(plugin, version, hierarchy)
    return hierarchy


def outline_of(plugin: str, architecture: str) -> Outline | None:
    """What the plugin knows of an architecture without its library; None if nothing."""
    known = plugins.known(plugin)
    with plugins.blaming("zoo.backbones", plugin):
        return known.outline(architecture) if known else None


def traced(plugin: str, architecture: str) -> Hierarchy:
    """The hierarchy of an architecture, found by running it. Raises as `describe` does."""
    from zoo.backbones.untrained import on_meta

    backbone = plugins.backbone(plugin)
    with plugins.blaming("zoo.backbones", plugin):
        with on_meta():
            module = backbone.build(architecture)
        return backbone.hierarchy(architecture, module)


def unit_named(hierarchy: Hierarchy, name: str, also: Sequence[str] = ()) -> int:
    """The depth of a unit, or of the last one of a stage; read as a freeze spec is. What ``also``
    could be asked for is suggested, too.

    Raises:
        UnknownName: There is none; near names are suggested.
    """
    kind = f"unit or stage of {hierarchy.architecture}"
    try:
        depth = hierarchy.boundary(name) - 1
    except InvalidFreeze as error:
        near = [*difflib.get_close_matches(name, also), *error.near]
        raise UnknownName(kind, name, near, "" if near else LISTED) from error
    if depth < 0:
        raise UnknownName(kind, name, hint=LISTED)
    return depth
