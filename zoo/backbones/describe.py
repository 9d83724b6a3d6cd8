"""Describe an architecture: its hierarchy, from the registry or by tracing it."""

from __future__ import annotations

import torch

from zoo import plugins
from zoo.domain.hierarchy import Hierarchy
from zoo.registry import Registry

__all__ = ["describe"]


def describe(registry: Registry, plugin: str, architecture: str) -> Hierarchy:
    """The hierarchy of an architecture; traced once for each version of its plugin.

    Raises:
        UnknownName: No such plugin or architecture.
        Unsupported: The network cannot be traced.
    """
    backbone = plugins.backbone(plugin)
    known = registry.hierarchy(plugin, backbone.version, architecture)
    if known is not None:
        return known
    with torch.device("meta"):
        module = backbone.build(architecture)
    hierarchy = backbone.hierarchy(architecture, module)
    registry.keep_hierarchy(plugin, backbone.version, hierarchy)
    return hierarchy
