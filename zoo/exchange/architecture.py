"""The hierarchy behind any name that a user may type."""

from __future__ import annotations

from zoo import plugins
from zoo.backbones.describe import describe
from zoo.domain.hierarchy import Hierarchy
from zoo.errors import InvalidReference, UnknownName
from zoo.workspace import Workspace

__all__ = ["hierarchy_of"]


def hierarchy_of(workspace: Workspace, name: str) -> Hierarchy:
    """The hierarchy of a checkpoint, a catalog entry, or an architecture (``resnet50``).

    Raises:
        UnknownName: ``name`` is none of these; near names are suggested.
        Unsupported: The network cannot be traced.
    """
    registry = workspace.registry
    try:
        _, digest = workspace.resolve(name)
        backbone = workspace.store.manifest(digest).backbone
        return describe(registry, backbone.plugin, backbone.architecture)
    except InvalidReference:
        pass  # an architecture has no slash
    except UnknownName:
        entry = registry.entry(name)
        if entry is not None:
            return describe(registry, entry.entry.backbone, entry.entry.architecture)
        if "/" in name:
            raise
    return _architecture(workspace, name)


def _architecture(workspace: Workspace, name: str) -> Hierarchy:
    near: list[str] = []
    for plugin in plugins.names("zoo.backbones"):
        try:
            return describe(workspace.registry, plugin, name)
        except UnknownName as error:
            near += error.near
    raise UnknownName("checkpoint or architecture", name, near or workspace.registry.near(name))
