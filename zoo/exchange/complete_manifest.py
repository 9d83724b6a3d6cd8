"""Complete the manifest of imported weights: a parent, what it lacks, what the user states."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from zoo.domain.digest import Digest
from zoo.domain.manifest import FOUND, SETTINGS, Manifest, Parent
from zoo.errors import InvalidOption
from zoo.exchange.origin import Origin
from zoo.lookup.identify import Candidate, hashes_of
from zoo.lookup.parent import FoundParent

__all__ = ["completed", "derived", "descending", "made_of", "recorded", "stated", "with_stated"]


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


def made_of(
    sha256: str, manifest: Manifest, alike: Sequence[Candidate], current: Digest | None
) -> Candidate | None:
    """The checkpoint here that was made of the file with that hash, and is the network of
    ``manifest``; of several the ``current`` one of the name, else that of which most is recorded.
    """
    network = (manifest.backbone, manifest.head)
    same = [
        one
        for one in alike
        if one.match.verdict == "same"  # a file can hold several weights: --key says which
        and sha256 in hashes_of(one.manifest)
        and (one.manifest.backbone, one.manifest.head) == network
    ]
    return max(
        same,
        key=lambda one: (one.digest == current, recorded(one.manifest)),
        default=None,
    )


def recorded(manifest: Manifest) -> tuple[bool, bool]:
    """How much is recorded of a checkpoint, to sort by."""
    return bool(manifest.metrics), bool(manifest.parents)


def stated(origin: Origin, *, files: bool) -> Iterator[str]:
    """The fields of a manifest that the options of an import state."""
    options = origin.metadata[0]
    if options.classes:
        yield "classes"
    if any(getattr(options, name) for name in SETTINGS):
        yield "preprocessing"
    if origin.provenance.get("metrics"):
        yield "metrics"
    if origin.license:
        yield "license"
    if origin.parent:
        yield "parents"
    if files:
        yield "files"


def with_stated(here: Manifest, whole: Manifest, names: Collection[str]) -> Manifest:
    """A checkpoint that is here with those fields of ``whole``, which is of the same weights, and
    with the data set that it names.
    """
    fields = {*names, "ancestors", "format"} if "parents" in names else {*names}
    keys = {"parent" if name == "parents" else name for name in names} | {"dataset"}
    kept = {key: text for key, text in here.provenance.items() if key not in keys}
    said = {key: text for key, text in whole.provenance.items() if key in keys}
    if "dataset" in here.provenance:
        said.setdefault("dataset", here.provenance["dataset"])
    values = {name: getattr(whole, name) for name in fields}
    return replace(here, **values, provenance={**kept, **said})
