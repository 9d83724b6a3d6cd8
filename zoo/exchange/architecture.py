"""The hierarchy behind any name that a user may type.

What was found once is answered from the registry, without torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from zoo import plugins
from zoo.backbones.describe import describe, outline_of
from zoo.domain.digest import Digest
from zoo.domain.hierarchy import Hierarchy, Unit
from zoo.domain.manifest import Manifest
from zoo.domain.near import near_names
from zoo.errors import (
    BrokenPlugin,
    DiskFull,
    InvalidReference,
    MissingPackage,
    Unavailable,
    UnknownName,
    ZooError,
)
from zoo.lookup.units import network_of, units_in
from zoo.registry import Registry
from zoo.tensor_names import names_among
from zoo.workspace import Workspace

__all__ = ["hierarchy_of", "is_traced", "of_checkpoint", "units_known"]

GROUP = "zoo.backbones"
PATHS = "torch"
"""The plugin that takes import paths (``package.module:name``), which no plugin can list."""


def hierarchy_of(workspace: Workspace, name: str) -> Hierarchy:
    """The hierarchy of a checkpoint, a catalog entry, or an architecture: ``resnet50``, or
    ``torchvision/resnet50`` where several plugins have one of that name.

    Raises:
        UnknownName: ``name`` is none of these; near names are suggested.
        Unsupported: The network cannot be traced.
        MissingPackage, BrokenPlugin: Its plugin cannot be used, or fails; of an architecture that
            several plugins have, all fail.
    """
    registry = workspace.registry
    try:
        _, digest = workspace.names.resolve(name)
    except (InvalidReference, UnknownName) as unknown:
        if known := registry.entry(name):
            return describe(registry, known.entry.backbone, known.entry.architecture)
        # The user has typed it, so it may be an import path: no checkpoint's word is trusted so.
        with workspace.trust.asked(name.removeprefix(f"{PATHS}/")):
            return _architecture(registry, name, unknown)
    return of_checkpoint(registry, workspace.store.manifest(digest))


def units_known(workspace: Workspace, name: str) -> list[str]:
    """Names of the units and stages of what `hierarchy_of` takes, as far as they are known without
    building the network.

    Raises:
        MissingPackage, BrokenPlugin: Its plugin cannot be used, or fails.
    """
    plugin, architecture = "timm", name
    try:
        return _names(_units_of(workspace, workspace.names.resolve(name)[1]))
    except (InvalidReference, UnknownName):
        if known := workspace.registry.entry(name):
            plugin, architecture = known.entry.backbone, known.entry.architecture
    return _names(_units_listed(workspace.registry, plugin, architecture))


def _units_of(workspace: Workspace, digest: Digest) -> Iterable[Unit]:
    """Of a checkpoint, which may be built with other arguments than its architecture has."""
    manifest, registry = workspace.store.manifest(digest), workspace.registry
    plugin, architecture = manifest.backbone.plugin, manifest.backbone.architecture
    if known := registry.network(plugin, plugins.backbone_version(plugin), network_of(manifest)):
        return known.units
    listed = _units_listed(registry, plugin, architecture)
    names = {tensor.name for tensor in manifest.tensors}
    own = {name for unit in listed for name in unit.parameters}
    return units_in(listed, names_among(plugin, names, own).values())


def _units_listed(registry: Registry, plugin: str, architecture: str) -> tuple[Unit, ...]:
    """Of an architecture, as it is published."""
    hierarchy = registry.hierarchy(plugin, plugins.backbone_version(plugin), architecture)
    if hierarchy is None and (outline := outline_of(plugin, architecture)):
        hierarchy = outline.hierarchy
    return hierarchy.units if hierarchy else ()


def _names(units: Iterable[Unit]) -> list[str]:
    return list(dict.fromkeys(name for unit in units for name in (unit.stage, unit.name)))


def is_traced(registry: Registry, manifest: Manifest) -> bool:
    """Whether `of_checkpoint` answers without torch."""
    plugin = manifest.backbone.plugin
    known = registry.network(plugin, plugins.backbone_version(plugin), network_of(manifest))
    return known is not None


def of_checkpoint(registry: Registry, manifest: Manifest) -> Hierarchy:
    """With the checkpoint's own head and input size, so not the one kept for its architecture.

    It is traced once for each version of its plugins, for all checkpoints of such a network.

    Raises:
        Unsupported: The network cannot be traced.
        MissingPackage, BrokenPlugin: One of its plugins cannot be used, or fails.
    """
    plugin, network = manifest.backbone.plugin, network_of(manifest)
    version = plugins.backbone_version(plugin)
    if known := registry.network(plugin, version, network):
        return known
    hierarchy = _traced(manifest)
    with suppress(DiskFull, Unavailable):  # it is traced again the next time
        registry.keep_network(plugin, version, network, hierarchy)
    return hierarchy


def _traced(manifest: Manifest) -> Hierarchy:
    from zoo.backbones.load import build
    from zoo.backbones.surgery import backbone_of
    from zoo.backbones.untrained import on_meta

    backbone = backbone_of(manifest)
    size = manifest.preprocessing.input_size
    with plugins.blaming(GROUP, manifest.backbone.plugin):
        with on_meta():
            module = build(backbone, manifest)
        return backbone.hierarchy(manifest.backbone.architecture, module, input_size=size)


def _architecture(
    registry: Registry, name: str, unknown: InvalidReference | UnknownName
) -> Hierarchy:
    """Of an architecture, after ``unknown`` was raised because the name is no checkpoint's."""
    plugin, slash, architecture = name.partition("/")
    if not slash:
        return _of_any(registry, name)
    if plugin not in plugins.names(GROUP):
        raise unknown
    if (plugin == PATHS and ":" in architecture) or plugin in registry.backbones_of(architecture):
        return describe(registry, plugin, architecture)
    listed = plugins.architectures(plugin)
    if architecture in listed:
        return describe(registry, plugin, architecture)
    near = [f"{plugin}/{each}" for each in near_names(architecture, listed)]
    known = unknown.near if isinstance(unknown, UnknownName) else ()
    raise UnknownName("checkpoint or architecture", name, (*known, *near)[:4])


def _of_any(registry: Registry, name: str) -> Hierarchy:
    failure: BrokenPlugin | MissingPackage | None = None
    near: list[str] = []
    for plugin in _having(registry, name):
        try:
            return describe(registry, plugin, name)
        except UnknownName as error:  # another version of the plugin had it
            near += error.near
        except (BrokenPlugin, MissingPackage) as error:
            failure = failure or error  # one that cannot be used keeps nobody from the others
    if failure:
        raise failure
    listed = sorted({each for plugin in plugins.names(GROUP) for each in _listed(plugin)})
    near = list(dict.fromkeys([*near, *near_names(name, listed)])) or registry.near(name)
    raise UnknownName("checkpoint or architecture", name, near)


def _having(registry: Registry, name: str) -> Iterator[str]:
    """The plugins that have an architecture; first those of which the registry knows it, as to ask
    the others is to import them.
    """
    installed = plugins.names(GROUP)
    known = registry.backbones_of(name)
    yield from (plugin for plugin in installed if plugin in known)
    yield from (plugin for plugin in installed if plugin not in known and name in _listed(plugin))
    if ":" in name and PATHS not in known:
        yield PATHS


def _listed(plugin: str) -> Sequence[str]:
    try:
        return plugins.architectures(plugin)
    except ZooError:
        return ()
