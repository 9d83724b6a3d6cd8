"""Stated: what is said of weights that are imported, and the manifest that comes of it."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite

from zoo.domain.digest import Digest
from zoo.domain.import_options import AUTO, ImportOptions
from zoo.domain.manifest import FOUND, Manifest, Parent
from zoo.errors import InvalidOption
from zoo.exchange.metadata import metadata_of_options
from zoo.exchange.origin import Beside, Origin
from zoo.lookup.parent import FoundParent, ParentFinder
from zoo.workspace import Workspace

__all__ = ["completed", "derived", "descending", "origin_of"]


def origin_of(
    workspace: Workspace, source: str, stated: ImportOptions, beside: Beside | None
) -> Origin:
    """What is said of weights by the user and beside them, before it is known of what network they
    are.

    Raises:
        InvalidOption: A metric has no name, or no finite value.
        UnknownName: The parent is not here.
    """
    beside = beside or Beside()
    provenance, metrics = {"source": source}, dict(stated.get("metrics") or {})
    if dataset := stated.get("dataset"):
        provenance["dataset"] = dataset
    if metrics:
        provenance["metrics"] = "stated on import, not measured"
    elif beside.metrics:
        metrics = dict(beside.metrics)
        provenance["metrics"] = f"from {beside.metrics_by}, not measured here"
    if wrong := [name for name, value in metrics.items() if not name or not isfinite(value)]:
        raise InvalidOption(f"the metric '{wrong[0]}' needs a name and a finite number")
    parent = find = None
    if (name := stated.get("parent")) == AUTO:
        find = beside.find or ParentFinder(workspace).find
    elif name:
        ref, digest = workspace.names.resolve(name)
        stated_parent = Parent(manifest=digest, relation="finetune", ref=str(ref or name))
        parent = (stated_parent, workspace.store.manifest(digest))
        provenance["parent"] = "stated on import"
    return Origin(
        plugin="",
        architecture="",
        license=stated.get("license"),
        provenance=provenance,
        metadata=(metadata_of_options(stated),),
        image_size=stated.get("image_size"),
        metrics=metrics,
        parent=parent,
        find=find,
        beside=beside,
    )


def completed(manifest: Manifest, digest: Digest, origin: Origin) -> Manifest:
    """A checkpoint that is here as ``digest`` with those of its metrics, parent, license and data
    set that ``origin`` tells and it does not have.
    """
    said, provenance = origin.provenance, dict(manifest.provenance)
    if said.get("dataset"):
        provenance.setdefault("dataset", said["dataset"])
    if origin.metrics and not manifest.metrics:
        provenance["metrics"] = said["metrics"]
    whole = replace(
        manifest,
        metrics=manifest.metrics or origin.metrics,
        license=manifest.license or origin.license,
        provenance=provenance,
    )
    if manifest.parents:
        return whole
    if origin.parent and origin.parent[0].manifest != digest:
        whole = replace(whole, provenance={**provenance, "parent": said["parent"]})
        return descending(whole, *origin.parent)
    found = origin.find(manifest, ()) if origin.find else None
    return derived(whole, found) if found else whole


def descending(manifest: Manifest, parent: Parent, base: Manifest) -> Manifest:
    """``manifest`` as the user says it derives.

    Raises:
        InvalidOption: It is of another architecture than its parent.
    """
    one, other = manifest.backbone, base.backbone
    if (one.plugin, one.architecture) != (other.plugin, other.architecture):
        raise InvalidOption(
            f"{parent.ref} is of the architecture {other.architecture}, the file of "
            f"{one.architecture}: it is not its parent"
        )
    return manifest.descending(base, parent)


def derived(manifest: Manifest, found: FoundParent) -> Manifest:
    """``manifest`` with the parent that was found, and by what."""
    parent = Parent(manifest=found.digest, relation=FOUND, ref=found.ref)
    provenance = {**manifest.provenance, "parent": str(found)}
    return replace(manifest, provenance=provenance).descending(found.manifest, parent)
