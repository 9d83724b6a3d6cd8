"""The checkpoint that is here with the bytes of an imported file: a second one of these would lack
its parent and its metrics. What people stated of another import of these bytes is never taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from zoo.domain.change import trained_on
from zoo.domain.digest import Digest
from zoo.domain.manifest import DECLARED, SETTINGS, STATED_HERE, UNKNOWN, Backbone, Manifest
from zoo.domain.reference import Reference
from zoo.domain.task import task_of, with_task
from zoo.errors import ZooError
from zoo.exchange.by_folder import with_folder
from zoo.exchange.check_weights import CheckedWeights
from zoo.exchange.complete_manifest import STATED_KEY, descending, with_stated
from zoo.exchange.import_candidates import ImportCandidate
from zoo.exchange.import_report import ImportReport
from zoo.exchange.metadata import OPTIONS
from zoo.exchange.origin import IMPORTED
from zoo.exchange.survey import resembling, survey
from zoo.lookup.identify import Candidate, hashes_of, named, since
from zoo.workspace import Workspace

__all__ = ["differing", "known_before", "or_here", "or_here_planned", "recorded", "stated"]

FIELDS = (
    *("license", "dataset", "metrics", "classes", "task", "preprocessing", "parents", "files"),
)
"""What of a manifest people state on import, and what proves itself there."""
TOLD = frozenset({"license", "classes", "preprocessing"})
"""What the folder of an export says of its weights: where it says otherwise, it is another one."""
SAME = 0.99
"""A share of the weights from which on they may be the same in other bytes."""
LISTED = 3
"""Metrics that a line lists of a checkpoint without an accuracy."""
WORDS = {"classes": "class names", "parents": "parent"}
"""What these are called."""


def recorded(manifest: Manifest) -> tuple[bool, bool]:
    """How much is recorded of a checkpoint, to sort by."""
    return bool(manifest.metrics), bool(manifest.parents)


def differing(one: Manifest, other: Manifest) -> list[str]:
    """What two checkpoints of the same weights differ in, in words."""
    return _words(_other(one, other))


def stated(manifest: Manifest) -> set[str]:
    """The `FIELDS` of a checkpoint that people stated on import; none that a pull or a fine-tune
    has by itself. Of a preprocessing that is partly unknown nobody knows who said the rest.
    """
    provenance = manifest.provenance
    if (source := provenance.get("source")) not in IMPORTED:
        return {*provenance.get(STATED_KEY, "").split(", ")} & {*FIELDS}
    how = provenance.get("preprocessing", "")
    marks = {
        "license": manifest.license is not None,
        "dataset": "dataset" in provenance,
        "metrics": provenance.get("metrics", "").startswith(STATED_HERE),
        "classes": provenance.get("classes") == OPTIONS,
        "task": provenance.get("task") == OPTIONS,
        "preprocessing": OPTIONS in how or how.startswith(f"{UNKNOWN}: "),
        "parents": provenance.get("parent", "").startswith(STATED_HERE),
        "files": source == "file" and bool(manifest.files),
    }
    return {name for name, is_stated in marks.items() if is_stated}


def or_here(
    workspace: Workspace,
    ref: Reference,
    candidate: ImportCandidate,
    sha256: str,
    alike: Sequence[Candidate],
    resolved: tuple[Manifest, ImportReport],
) -> tuple[Manifest, ImportReport]:
    """The checkpoint that is here with the bytes of a file, if one is, with what the user states
    and with what it lacks. Else ``resolved``. It is, the best first: the one that the name points
    at, one that is what would be made, the one of which most is recorded, the oldest. One of which
    people stated what neither the user nor the file says is none, but under its own name.

    Args:
        workspace: The zoo.
        ref: The name that is asked for.
        candidate: The file.
        sha256: Of it, in hex.
        alike: Checkpoints here that share tensors with it.
        resolved: The checkpoint that would be made of it, and what was taken for that.
    """
    whole, report = resolved
    entry = workspace.store.read_ref(ref)
    current = entry.manifest if entry and not entry.deleted else None
    options, same = {*_stated(candidate)}, _made_from(sha256, alike)
    if candidate.origin.provenance["source"] == "folder":  # its files say more than its weights
        same = [one for one in same if not (TOLD - options) & _other(one.manifest, whole)]
        if "task" not in options:
            same = [one for one in same if _task(whole) in (None, _task(one.manifest))]
    foreign = {
        one.digest: (stated(one.manifest) - options) & _other(one.manifest, whole)
        for one in same
        if one.digest != current
    }
    own = [
        one
        for one in same
        if not foreign.get(one.digest) and _network(one.manifest) == _network(whole)
    ]
    if not own:
        return whole, replace(report, stated_elsewhere=_elsewhere(workspace, foreign))
    here = min(own, key=lambda one: _rank(workspace, one, whole, current))
    names = {*(options & _other(here.manifest, whole)), *_lacking(here.manifest, whole)}
    known = with_stated(
        _with_fields(here.manifest, whole, names), options & _other(here.manifest, whole)
    )
    differs = _other(here.manifest, known)
    if differs and known.provenance.get("sha256") == sha256:
        known = replace(known, provenance={**known.provenance, "file": candidate.path.name})
    name, refs = named(workspace, here.digest)
    return known, replace(
        report,
        here=str(ref) if str(ref) in refs else name,
        here_has=_describe(known, _other(known, whole)),
        differs=tuple(_words(differs - {"files"})),
        metrics=report.metrics if "metrics" in names else "",
        classes=report.classes if "classes" in names else "",
        task=report.task if "task" in names else "",
        preprocessing=report.preprocessing if "preprocessing" in names else "",
        unknown=known.unknown,
    )


def _elsewhere(workspace: Workspace, foreign: Mapping[Digest, Collection[str]]) -> str:
    """Checkpoints of the same weights, with what others stated of them."""
    return ", ".join(
        f"{named(workspace, digest)[0]} ({_listed(names)})"
        for digest, names in foreign.items()
        if names
    )


def or_here_planned(
    workspace: Workspace, ref: Reference, checked: CheckedWeights
) -> tuple[Manifest, ImportReport]:
    """The same of a file of which nothing is stored."""
    resolved, candidate = checked.resolved(), checked.candidate
    if candidate.key or candidate.parts or not candidate.origin.may_be_here:
        return with_folder(workspace, resolved, candidate)
    try:
        alike = resembling(workspace, surveyed := survey(candidate.path))
    except (ZooError, OSError):  # the import says what is wrong
        return resolved
    planned = or_here(workspace, ref, candidate, surveyed.sha256, alike, resolved)
    return with_folder(workspace, planned, candidate)


def known_before(workspace: Workspace, ref: Reference, checked: CheckedWeights) -> Manifest | None:
    """What a file will be under ``ref``, as far as it tells whether that name may move to it, with
    nothing stored; None: only its stored tensors tell. Of a pull that is what its publisher says.
    """
    candidate, entry = checked.candidate, workspace.store.read_ref(ref)
    origin = candidate.origin
    if not origin.metadata:
        return checked.manifest
    if entry is None or entry.deleted or candidate.key or candidate.parts or origin.find:
        return None
    try:
        alike = resembling(workspace, surveyed := survey(candidate.path))
    except (ZooError, OSError):  # the import says what is wrong
        return None
    if any(one.digest == entry.manifest and one.match.share >= SAME for one in alike):
        return None
    if checked.manifest.parents:  # stated by a folder: its bytes tell
        return None
    resolved = checked.resolved()
    whole, _ = (
        or_here(workspace, ref, candidate, surveyed.sha256, alike, resolved)
        if origin.may_be_here
        else resolved
    )
    whole = replace(whole, provenance={"sha256": surveyed.sha256, **whole.provenance})
    return descending(whole, *origin.parent) if origin.parent else whole


def _made_from(sha256: str, alike: Sequence[Candidate]) -> list[Candidate]:
    """The checkpoints here that were made of the file with that hash."""
    return [
        one
        for one in alike
        if one.match.verdict == "same"  # a file can hold several weights: --key says which
        and sha256 in hashes_of(one.manifest)
    ]


def _task(manifest: Manifest) -> object:
    return (manifest.recipe or {}).get("task")


def _network(manifest: Manifest) -> tuple[Backbone, int]:
    """Without the kind of its head: a file does not say which a fine-tune gave it."""
    return manifest.backbone, manifest.head.num_classes


def _rank(
    workspace: Workspace, one: Candidate, whole: Manifest, current: Digest | None
) -> tuple[bool, bool, list[bool], str]:
    """The least is taken."""
    least = [not known for known in recorded(one.manifest)]
    return (
        one.digest != current,
        bool(_other(one.manifest, whole)),
        least,
        since(workspace, one.digest),
    )


def _other(here: Manifest, whole: Manifest) -> set[str]:
    """The `FIELDS` in which two checkpoints of the same weights differ."""
    return {name for name in FIELDS if _value(here, name) != _value(whole, name)}


def _value(manifest: Manifest, name: str) -> object:
    if name == "dataset":
        return manifest.provenance.get(name)
    if name == "task":
        return task_of(manifest)
    if name == "preprocessing":
        return manifest.preprocessing, _guessed(manifest)
    if name == "parents":  # whether it was here to be compared is no other parent
        return {parent.manifest for parent in manifest.parents}
    return getattr(manifest, name)


def _describe(known: Manifest, names: Collection[str]) -> tuple[str, ...]:
    """What a checkpoint has in those of the `FIELDS`, in words."""
    main = ["accuracy"] if "accuracy" in known.metrics else list(known.metrics)[:LISTED]
    figures = ", ".join(f"{name} {known.metrics[name]:.4g}" for name in main)
    values = {
        "license": known.license and f"license {known.license}",
        "dataset": (dataset := known.provenance.get("dataset")) and f"data set {dataset}",
        "metrics": figures,
        "classes": known.classes and "class names",
        "task": (task := _task(known)) and f"task {task}",
        "preprocessing": len(_guessed(known)) < len(SETTINGS) and "preprocessing",
        "parents": ", ".join(f"parent {parent.ref}" for parent in known.parents),
    }
    return tuple(str(text) for name, text in values.items() if text and name in names)


def _listed(names: Collection[str]) -> str:
    return ", ".join(_words(names))


def _words(names: Collection[str]) -> list[str]:
    return [WORDS.get(name, name) for name in FIELDS if name in names]


def _stated(candidate: ImportCandidate) -> Iterator[str]:
    """The fields of a manifest that the options of an import state."""
    origin, options = candidate.origin, candidate.origin.metadata[0]
    if options.classes:
        yield "classes"
    if options.task:
        yield "task"
    if any(getattr(options, name) for name in SETTINGS):
        yield "preprocessing"
    if origin.metrics:
        yield "metrics"
    if origin.license:
        yield "license"
    if "dataset" in origin.provenance:
        yield "dataset"
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
    if _task(whole) and not _task(here) and "task" not in here.provenance:
        yield "task"
    if _guessed(whole) < _guessed(here):
        yield "preprocessing"
    if whole.parents and all(parent.relation == DECLARED for parent in here.parents):
        yield "parents"
    if "dataset" in whole.provenance and not trained_on(here):
        yield "dataset"


def _guessed(manifest: Manifest) -> set[str]:
    """The settings of a preprocessing that are unknown."""
    names = {*manifest.unknown} - {"classes"}
    return {*SETTINGS} if "preprocessing" in names else names


def _with_fields(here: Manifest, whole: Manifest, names: Collection[str]) -> Manifest:
    """A checkpoint that is here with those fields of ``whole``, which is of the same weights."""
    fields = {*names, "ancestors", "format"} if "parents" in names else {*names}
    keys = {"parent" if name == "parents" else name for name in names}
    kept = {key: text for key, text in here.provenance.items() if key not in keys}
    taken = {key: text for key, text in whole.provenance.items() if key in keys}
    values = {name: getattr(whole, name) for name in fields - {"dataset", "task"}}
    known = replace(here, **values, provenance={**kept, **taken})
    return with_task(known, task_of(whole)) if "task" in names else known
