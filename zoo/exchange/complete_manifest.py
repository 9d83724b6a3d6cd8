"""Complete the manifest of imported weights: with a parent, stated or found, and what it lacks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from zoo.domain.digest import Digest
from zoo.domain.manifest import FOUND, SETTINGS, Manifest, Parent
from zoo.domain.task import task_of
from zoo.errors import InvalidOption
from zoo.exchange.metadata import Metadata
from zoo.exchange.origin import IMPORTED, STATED, Origin
from zoo.exchange.resolve_metadata import restated
from zoo.lookup.parent import FoundParent

__all__ = [
    "STATED_KEY",
    "completed",
    "derived",
    "descending",
    "not_recorded",
    "with_stated",
    "without_stated",
]

STATED_KEY = "stated"
"""Under this, the provenance of what was pulled or made here names what people stated of it."""


def completed(manifest: Manifest, digest: Digest, origin: Origin) -> Manifest:
    """A checkpoint that is here as ``digest`` with those of its metrics, parent, license, data set,
    class names, task and preprocessing that ``origin`` tells and it does not have.

    Raises:
        InvalidOption: What the user says of it cannot be.
    """
    said = _lacking(manifest, origin.metadata[0])
    manifest = restated(manifest, said) if said else manifest
    facts, provenance = origin.provenance, dict(manifest.provenance)
    fields = {name for name in ("classes", "task") if getattr(said, name)}
    fields |= {"preprocessing"} if any(getattr(said, name) for name in SETTINGS) else set()
    fields |= {"license"} if origin.license and not manifest.license else set()
    fields |= {"dataset"} if facts.get("dataset") and "dataset" not in provenance else set()
    if facts.get("dataset"):
        provenance.setdefault("dataset", facts["dataset"])
    if facts.get("note"):
        provenance["note"] = facts["note"]
    if origin.metrics and not manifest.metrics:
        provenance["metrics"] = facts["metrics"]
        fields |= {"metrics"} if facts["metrics"].startswith(STATED) else set()
    whole = replace(
        manifest,
        metrics=manifest.metrics or origin.metrics,
        license=manifest.license or origin.license,
        provenance=provenance,
    )
    whole = with_stated(whole, fields)
    if manifest.parents:
        return whole
    if origin.parent and origin.parent[0].manifest != digest:
        whole = replace(whole, provenance={**whole.provenance, "parent": facts["parent"]})
        return descending(whole, *origin.parent)
    parent = origin.find(manifest, ()) if origin.find else None
    return derived(whole, parent) if parent else whole


def _lacking(manifest: Manifest, facts: Metadata) -> Metadata:
    """What of ``facts`` nobody knows of a checkpoint. What size of images it takes is known."""
    unknown = SETTINGS if "preprocessing" in manifest.unknown else manifest.unknown
    known = {name for name in SETTINGS if name not in unknown or name == "image_size"}
    known |= {"classes"} if manifest.classes else set()
    said = (manifest.recipe or {}).get("task") or "task" in manifest.provenance
    known |= {"task"} if said or facts.task == task_of(manifest) else set()
    nothing = Metadata(source=facts.source)
    return replace(facts, **{name: getattr(nothing, name) for name in known})


def not_recorded(manifest: Manifest, origin: Origin) -> tuple[str, ...]:
    """What the user states otherwise than it is recorded of a checkpoint."""
    facts, provenance = origin.metadata[0], manifest.provenance
    stated = restated(manifest, replace(facts, image_size=None))
    figures = origin.metrics if origin.provenance.get("metrics", "").startswith(STATED) else {}
    other = {
        "license": origin.license not in (None, manifest.license),
        "data set": origin.provenance.get("dataset") not in (None, provenance.get("dataset")),
        "metrics": any(manifest.metrics.get(name) != value for name, value in figures.items()),
        "class names": stated.classes != manifest.classes,
        "task": task_of(stated) != task_of(manifest),
        "preprocessing": stated.preprocessing != manifest.preprocessing,
        "image size": facts.image_size not in (None, manifest.preprocessing.input_size[1:]),
    }
    return tuple(name for name, is_other in other.items() if is_other)


def with_stated(manifest: Manifest, names: Collection[str]) -> Manifest:
    """``manifest`` with the ``names`` of what people stated of it, if nothing else would tell: an
    import has all from people or its file.
    """
    if not names or manifest.provenance.get("source") in IMPORTED:
        return manifest
    known = {*filter(None, manifest.provenance.get(STATED_KEY, "").split(", "))}
    text = ", ".join(sorted(known | {*names}))
    return replace(manifest, provenance={**manifest.provenance, STATED_KEY: text})


def without_stated(manifest: Manifest, name: str) -> Manifest:
    """``manifest`` where ``name`` is nothing that people stated any more."""
    names = [*filter(None, manifest.provenance.get(STATED_KEY, "").split(", "))]
    provenance = {key: text for key, text in manifest.provenance.items() if key != STATED_KEY}
    if left := ", ".join(each for each in names if each != name):
        provenance[STATED_KEY] = left
    return replace(manifest, provenance=provenance)


def descending(manifest: Manifest, parent: Parent, base: Manifest) -> Manifest:
    """``manifest`` as the user says it derives.

    Raises:
        InvalidOption: It is of another architecture than its parent.
    """
    one, other = manifest.backbone, base.backbone
    if not one.is_like(other):
        raise InvalidOption(
            f"{parent.ref} is of the architecture {other.architecture}, the file of "
            f"{one.architecture}: it is not its parent"
        )
    return manifest.descending(base, parent)


def derived(manifest: Manifest, base: FoundParent) -> Manifest:
    """``manifest`` with the parent that was found, and by what."""
    parent = Parent(manifest=base.digest, relation=FOUND, ref=base.ref)
    provenance = {**manifest.provenance, "parent": str(base)}
    return replace(manifest, provenance=provenance).descending(base.manifest, parent)
