"""The hierarchy behind any name that a user may type."""

from __future__ import annotations

from zoo import plugins
from zoo.backbones.describe import describe
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.manifest import Manifest
from zoo.errors import BrokenPlugin, InvalidReference, MissingPackage, UnknownName
from zoo.workspace import Workspace

__all__ = ["hierarchy_of", "of_checkpoint"]


def hierarchy_of(workspace: Workspace, name: str) -> Hierarchy:
    """The hierarchy of a checkpoint, a catalog entry, or an architecture (``resnet50``).

    Raises:
        UnknownName: ``name`` is none of these; near names are suggested.
        Unsupported: The network cannot be traced.
    """
    registry = workspace.registry
    try:
        _, digest = workspace.resolve(name)
        return of_checkpoint(workspace.store.manifest(digest))
    except InvalidReference:
        pass  # an architecture has no slash
    except UnknownName:
        entry = registry.entry(name)
        if entry is not None:
            return describe(registry, entry.entry.backbone, entry.entry.architecture)
        if "/" in name:
            raise
    return _architecture(workspace, name)


def of_checkpoint(manifest: Manifest) -> Hierarchy:
    """With the checkpoint's own head and input size, so not the one kept for its architecture.

    Raises:
        Unsupported: The network cannot be traced.
    """
    from zoo.backbones.load import build
    from zoo.backbones.operated import backbone_of
    from zoo.backbones.untrained import on_meta

    backbone = backbone_of(manifest)
    with on_meta():
        module = build(backbone, manifest)
    size = manifest.preprocessing.input_size
    return backbone.hierarchy(manifest.backbone.architecture, module, input_size=size)


def _architecture(workspace: Workspace, name: str) -> Hierarchy:
    near: list[str] = []
    for plugin in plugins.names("zoo.backbones"):
        try:
            return describe(workspace.registry, plugin, name)
        except UnknownName as error:
            near += error.near
        except (BrokenPlugin, MissingPackage):
            if _lists(plugin, name):
                raise
            continue  # one that cannot be used keeps nobody from the others
    near = list(dict.fromkeys(near)) or workspace.registry.near(name)
    raise UnknownName("checkpoint or architecture", name, near)


def _lists(plugin: str, name: str) -> bool:
    """Whether a plugin that cannot build ``name`` knows it all the same."""
    try:
        return name in plugins.backbone(plugin).architectures()
    except (BrokenPlugin, MissingPackage):
        return False
