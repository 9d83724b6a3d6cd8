"""Complete the manifest of imported weights: with a parent, stated or found, and what it lacks."""

from __future__ import annotations

from dataclasses import replace

from zoo.domain.digest import Digest
from zoo.domain.manifest import FOUND, Manifest, Parent
from zoo.errors import InvalidOption
from zoo.exchange.origin import Origin
from zoo.lookup.parent import FoundParent

__all__ = ["completed", "derived", "descending"]


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
