"""The checkpoint that is here with the bytes of an imported file: a second one of these would lack
its parent and its metrics.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from zoo.domain.digest import Digest
from zoo.domain.manifest import SETTINGS, Manifest
from zoo.domain.reference import Reference
from zoo.errors import ZooError
from zoo.exchange.check_weights import CheckedWeights
from zoo.exchange.import_candidates import ImportCandidate
from zoo.exchange.import_report import ImportReport
from zoo.exchange.survey import resembling, survey
from zoo.lookup.identify import Candidate, hashes_of, named
from zoo.workspace import Workspace

__all__ = ["or_here", "or_here_planned", "recorded"]


def recorded(manifest: Manifest) -> tuple[bool, bool]:
    """How much is recorded of a checkpoint, to sort by."""
    return bool(manifest.metrics), bool(manifest.parents)


def or_here(
    workspace: Workspace,
    ref: Reference,
    candidate: ImportCandidate,
    sha256: str,
    alike: Sequence[Candidate],
    made: tuple[Manifest, ImportReport],
) -> tuple[Manifest, ImportReport]:
    """The checkpoint that is here with the bytes of a file, if one is, with what the user states
    and with what it lacks. Else what was ``made``.

    Args:
        workspace: The zoo.
        ref: The name that is asked for.
        candidate: The file.
        sha256: Of it, in hex.
        alike: Checkpoints here that share tensors with it.
        made: The checkpoint that would be made of it, and what was taken for that.
    """
    whole, report = made
    entry = workspace.store.read_ref(ref)
    current = entry.manifest if entry and not entry.deleted else None
    here = _made_of(sha256, whole, alike, current)
    if here is None:
        return made
    names = {*_stated(candidate), *_lacking(here.manifest, whole)}
    known = _with_fields(here.manifest, whole, names)
    name, refs = named(workspace, here.digest)
    return known, replace(
        report,
        here=str(ref) if str(ref) in refs else name,
        metrics=report.metrics if "metrics" in names else "",
        classes=report.classes if "classes" in names else "",
        preprocessing=report.preprocessing if "preprocessing" in names else "",
        unknown=known.unknown,
    )


def or_here_planned(
    workspace: Workspace, ref: Reference, checked: CheckedWeights
) -> tuple[Manifest, ImportReport]:
    """The same of a file of which nothing is stored."""
    made, candidate = checked.resolved(), checked.candidate
    if candidate.key or candidate.parts or candidate.origin.provenance["source"] != "file":
        return made
    try:
        alike = resembling(workspace, found := survey(candidate.path))
    except (ZooError, OSError):  # the import says what is wrong
        return made
    return or_here(workspace, ref, candidate, found.sha256, alike, made)


def _made_of(
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
    return max(same, key=lambda one: (one.digest == current, recorded(one.manifest)), default=None)


def _stated(candidate: ImportCandidate) -> Iterator[str]:
    """The fields of a manifest that the options of an import state."""
    origin, options = candidate.origin, candidate.origin.metadata[0]
    if options.classes:
        yield "classes"
    if any(getattr(options, name) for name in SETTINGS):
        yield "preprocessing"
    if origin.metrics:
        yield "metrics"
    if origin.license:
        yield "license"
    if origin.parent:
        yield "parents"
    if candidate.files:
        yield "files"


def _lacking(here: Manifest, whole: Manifest) -> Iterator[str]:
    """The fields that a checkpoint here does not know, and a file tells by now: what its script
    wrote beside it may have come later.
    """
    if whole.metrics and not here.metrics:
        yield "metrics"
    if whole.classes and not here.classes:
        yield "classes"
    if _guessed(whole) < _guessed(here):
        yield "preprocessing"


def _guessed(manifest: Manifest) -> set[str]:
    """The settings of a preprocessing that are unknown."""
    names = {*manifest.unknown} - {"classes"}
    return {*SETTINGS} if "preprocessing" in names else names


def _with_fields(here: Manifest, whole: Manifest, names: Collection[str]) -> Manifest:
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
