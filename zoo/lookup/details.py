"""Details: all that is known of a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from zoo.domain.adapter import adapter_of
from zoo.domain.benched import Benched
from zoo.domain.calibration import Calibration
from zoo.domain.catalog import OPEN
from zoo.domain.digest import Digest
from zoo.domain.evaluated import Evaluated
from zoo.domain.manifest import Manifest
from zoo.domain.plain import Json
from zoo.domain.reference import Reference
from zoo.domain.result import AtRemote, Result, plain
from zoo.errors import InvalidReference, UnknownName
from zoo.lookup.calibrated import calibration_of
from zoo.lookup.edited import children
from zoo.lookup.license import Terms, terms
from zoo.lookup.ref_status import at_remotes, why_deprecated
from zoo.lookup.units import adapted_units
from zoo.store.manifests import manifest_if_any
from zoo.store.not_finite import NOT_FINITE, known_not_finite
from zoo.store.side_files import BENCHES, EVALUATIONS
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from zoo.registry import KnownEntry

__all__ = [
    "CatalogDetails",
    "CheckpointDetails",
    "Details",
    "RemoteDetails",
    "details",
    "warning_of",
]


LAST = (
    "calibration",
    "evaluations",
    "benches",
    "lineage",
    "children",
    "terms",
    "unknown",
    "unproven",
    "not_finite",
)
"""Of a checkpoint that is here, what comes behind what its manifest says."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CheckpointDetails(Result):
    """All that is known of a checkpoint that is here.

    Attributes:
        name: The name, or the digest if that was asked for.
        manifest: Its identity.
        refs: All of its names.
        bytes: Size of its files.
        params: Number of parameter elements.
        sources: The sources that list it.
        published: Figures that these publish of it; of a fine-tune, what they say of its network.
        at_remotes: What remotes have under the name.
        checkpoint: What its manifest says: network, classes, preprocessing, recipe, metrics, …
        calibration: What it keeps of how far its answers can be trusted; None if nothing.
        adapted: The units that a LoRA adapter corrects; empty where it has none.
        evaluations: What `zoo evaluate` found here, newest first.
        benches: What `zoo bench` measured here, newest first.
        lineage: Names of its ancestors, the nearest first.
        children: How many derive from it directly.
        terms: What the licenses come to.
        unknown: What nobody has said of it (`zoo.domain.manifest.Manifest.unknown`).
        unproven: What the manifest says of bytes that are not here; empty if nothing.
        deprecated: Why the name is to be used no more; empty if it may be.
        not_finite: Which weights `zoo verify` has found to be NaN or infinite, if the manifest does
            not say it; empty if none, or nobody has looked.
    """

    name: str
    manifest: Digest
    refs: tuple[str, ...]
    bytes: int
    params: int | None
    sources: tuple[str, ...]
    published: Mapping[str, float]
    at_remotes: tuple[AtRemote, ...]
    checkpoint: Manifest
    calibration: Calibration | None
    adapted: tuple[str, ...]
    evaluations: tuple[Evaluated, ...]
    benches: tuple[Benched, ...]
    lineage: tuple[str, ...]
    children: int
    terms: Terms
    unknown: tuple[str, ...]
    unproven: str
    deprecated: str
    not_finite: str

    def to_json(self) -> Json:
        """Plain data for JSON; tensors are counted, not listed."""
        data = Result.to_json(self)
        fields, _ = data.pop("checkpoint"), data.pop("adapted")
        for weights, shown in zip(self.checkpoint.weights, fields["weights"], strict=True):
            shown["tensors"] = len(weights.tensors)
        fields["parents"] = [
            {"manifest": str(parent.manifest), "relation": parent.relation, "ref": parent.ref}
            for parent in self.checkpoint.parents
        ]
        fields.pop("ancestors", None)  # ``lineage`` names them
        if adapter := adapter_of(self.checkpoint):
            fields["adapter"] = {**asdict(adapter), "units": list(self.adapted)}
        if custom := self.checkpoint.backbone.custom:
            fields["custom_config"] = custom
        last = {key: data.pop(key) for key in LAST}
        return {"kind": "checkpoint", **data, **fields, **last}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RemoteDetails(Result):
    """What is known of a checkpoint that only remotes have.

    Attributes:
        name: The name that was asked for.
        remotes: The remotes that have it under that name.
        at_remotes: What each has there.
        indexed: What the index keeps of it: architecture, params, license, metrics, …
        pull: The command that brings it here.
    """

    name: str
    remotes: tuple[str, ...]
    at_remotes: tuple[AtRemote, ...]
    indexed: Mapping[str, object]
    pull: str

    def to_json(self) -> Json:
        """Plain data for JSON."""
        data = Result.to_json(self)
        name, pull, indexed = data.pop("name"), data.pop("pull"), data.pop("indexed")
        return {"name": name, "kind": "remote", **data, **indexed, "pull": pull}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CatalogDetails(Result):
    """What is known of a published checkpoint that is not here.

    Attributes:
        name: The name that was asked for.
        entry: What its sources say of it together.
        pull: The command that brings it here.
    """

    name: str
    entry: KnownEntry
    pull: str

    def to_json(self) -> Json:
        """Plain data for JSON."""
        fields = plain(self.entry.entry)
        del fields["location"], fields["name"]
        return {
            "name": self.name,
            "kind": "catalog",
            **fields,
            "params": self.entry.params,
            "sources": list(self.entry.sources),
            "locations": plain(self.entry.locations),
            "pull": self.pull,
        }


Details = CheckpointDetails | RemoteDetails | CatalogDetails


def details(workspace: Workspace, name: str) -> Details:
    """All that is known of a checkpoint here, of one that a remote has, or of a catalog entry.

    Raises:
        UnknownName: None of these is called ``name``; near names are suggested.
        Corrupt: Its manifest is damaged.
    """
    entry = workspace.registry.entry(name.partition(":")[0])
    try:
        ref, digest = workspace.names.resolve(name)
    except UnknownName:
        if entry:
            pull = f"zoo pull {Reference.parse(entry.entry.name)}"
            return CatalogDetails(name=name, entry=entry, pull=pull)
        if elsewhere := _at_remotes(workspace, name):
            return elsewhere
        raise
    manifest = workspace.store.manifest(digest)
    sources = _sources(workspace, ref, manifest, entry)
    macs = workspace.registry.published_macs(manifest)
    published = (entry.entry.metrics or {}) if entry and sources else {}
    not_finite = known_not_finite(workspace.own(NOT_FINITE), digest)
    return CheckpointDetails(
        name=str(ref or digest),
        manifest=digest,
        refs=tuple(str(known) for known in workspace.registry.refs_of(digest)),
        bytes=manifest.logical_bytes,
        params=(workspace.registry.summary(digest) or {}).get("params"),
        sources=sources,
        published=published if macs is None else {"macs": macs, **published},
        at_remotes=at_remotes(workspace, ref),
        checkpoint=manifest,
        calibration=calibration_of(workspace.store, manifest),
        adapted=adapted_units(workspace, manifest),
        evaluations=tuple(EVALUATIONS.of(workspace.store.disk, digest)),
        benches=tuple(BENCHES.of(workspace.store.disk, digest)),
        lineage=_lineage(manifest),
        children=len(children(workspace, digest)),  # log lists them
        terms=terms(workspace, str(ref or digest), manifest),
        unknown=manifest.unknown,
        unproven=_unproven(manifest),
        deprecated=why_deprecated(workspace, ref) if ref else "",
        not_finite="" if not_finite == manifest.provenance.get("warning") else not_finite,
    )


def warning_of(workspace: Workspace, digest: Digest) -> str:
    """What its training, its import or `zoo verify` said against a checkpoint, and which limit of
    what it derives from its license leaves out; empty if nothing.
    """
    manifest = manifest_if_any(workspace.store, digest)
    warning = manifest.provenance.get("warning", "") if manifest else ""
    warning = warning or known_not_finite(workspace.own(NOT_FINITE), digest)
    license_ = terms(workspace, str(digest), manifest).warning if manifest else ""
    return "; ".join(filter(None, (warning, license_)))


def _sources(
    workspace: Workspace, ref: Reference | None, manifest: Manifest, entry: KnownEntry | None
) -> tuple[str, ...]:
    """Who lists it: an entry of the same name may be of somebody else's work."""
    if entry is None or ref is None:
        return ()
    if manifest.provenance.get("source"):
        theirs = not workspace.names.is_own(ref, entry)
    else:  # of early versions, and of other programs
        theirs = not OPEN.issuperset(entry.sources)
    return entry.sources if theirs else ()


def _unproven(manifest: Manifest) -> str:
    """What the manifest says of bytes that are not here, so that nothing proves it."""
    stated = manifest.provenance.get("sha256")
    if stated is None or stated in {file.sha256.hex for file in manifest.weights}:
        return ""
    name = manifest.provenance.get("file", "another file")
    return (
        f"that these weights were read from {name}, which is not kept here (its SHA-256 is "
        "provenance.sha256)"
    )


def _lineage(manifest: Manifest) -> tuple[str, ...]:
    """Names of all ancestors, the nearest first."""
    names = (parent.ref or str(parent.manifest) for _, parent in manifest.lineage())
    return tuple(dict.fromkeys(names))


def _at_remotes(workspace: Workspace, name: str) -> RemoteDetails | None:
    """What is indexed of a checkpoint that is not here; None if no remote is known to have it."""
    try:
        ref = Reference.parse(name)
    except InvalidReference:  # a digest
        return None
    holders = workspace.registry.holders(ref)
    if not holders:
        return None
    remote, digest = next(iter(holders.items()))
    return RemoteDetails(
        name=name,
        remotes=tuple(other for other, same in holders.items() if same == digest),
        at_remotes=at_remotes(workspace, ref),
        indexed=workspace.registry.summary(digest) or {},
        pull=f"zoo pull {ref} --from {remote}",
    )
