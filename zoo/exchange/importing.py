"""Import weights as a checkpoint: a file, or a folder that zoo or another library wrote.

Torch is imported only where the network must be built.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, Unpack

from zoo.domain import words
from zoo.domain.change import Change
from zoo.domain.digest import Digest
from zoo.domain.history import moved_from
from zoo.domain.import_options import ImportOptions
from zoo.domain.manifest import Backbone, Manifest
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.errors import (
    InvalidWeights,
    MissingPackage,
    UnknownName,
    Unsupported,
)
from zoo.exchange.by_folder import proven, with_folder
from zoo.exchange.check_weights import CheckedWeights, check_weights
from zoo.exchange.commit import new_checkpoint
from zoo.exchange.complete_manifest import derived, descending
from zoo.exchange.consent import named_by_user
from zoo.exchange.here_already import known_before, or_here, or_here_planned
from zoo.exchange.identifying import read_tensors
from zoo.exchange.import_candidates import (
    MAIN,
    ImportCandidate,
    built_as_here,
    candidates_of_file,
    candidates_of_folder,
)
from zoo.exchange.import_names import IMPORT, name_check
from zoo.exchange.import_report import NONE_FOUND, ImportReport
from zoo.exchange.infer_metadata import infer_metadata
from zoo.exchange.origin import FromPlan, Origin
from zoo.lookup.parent import relatives
from zoo.store.files import add_file, add_weights
from zoo.store.header import is_safetensors
from zoo.store.not_finite import NOT_FINITE, nan_tensors, nan_tensors_here, note_not_finite
from zoo.transfer.changes import change_from
from zoo.workspace import Check, Workspace

if TYPE_CHECKING:
    from zoo.exchange.weights import ReadWeights

__all__ = [
    "MAIN",
    "Imported",
    "Origin",
    "PlannedImport",
    "first_candidate",
    "first_that_fits",
    "import_file",
    "import_folder",
    "import_weights",
    "plan_single",
    "stored",
]

LOG = logging.getLogger("zoo")
T = TypeVar("T")
R = TypeVar("R")

UNFIT = (InvalidWeights, MissingPackage, UnknownName, Unsupported)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Imported(Result):
    """A checkpoint that was imported.

    Attributes:
        ref: Its name.
        manifest: Its identity.
        moved_from: What the name pointed at before, if that was another checkpoint.
        change: What differs from that for those who use the name.
        nan_tensors: Its tensors with NaN or infinite values.
        taken: What of the file it is.
    """

    ref: Reference
    manifest: Digest
    moved_from: Digest | None = None
    change: Change | None = None
    nan_tensors: tuple[str, ...]
    taken: ImportReport


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PlannedImport(Result):
    """A checkpoint that would be imported.

    Attributes:
        ref: Its name.
        file: What it is made of.
        backbone: Plugin of its architecture.
        architecture: What network it is.
        custom: How its configuration differs from that of the published network of that name.
        outputs: Of its head; 0 if it has none.
        metrics: What it is said to have.
        nan_tensors: Tensors of the file with NaN or infinite values.
        taken: What of the file it is.
        moves_from: What the name points at, if that is not of this file. It moves if the new one
            derives from that, or is of the same weights; else by force alone.
    """

    ref: Reference
    file: Path
    backbone: str
    architecture: str
    custom: str
    outputs: int
    metrics: Mapping[str, float]
    nan_tensors: tuple[str, ...]
    taken: ImportReport
    moves_from: Digest | None = None


def import_folder(
    workspace: Workspace,
    folder: Path,
    ref: Reference,
    *,
    progress: Progress = silent,
    from_plan: FromPlan | None = None,
    **options: Unpack[ImportOptions],
) -> Imported:
    """Store the weights in ``folder`` as a checkpoint named ``ref``; its files say what network.

    Of what ``zoo export`` wrote all but the recipe comes back, of that the task, figures and parent
    as stated; of other folders, what explains the weights.

    Raises:
        InvalidOption: No file in it says what network it is.
        InvalidWeights: It holds no weights, or they are of another network; nothing is kept.
        Unsupported: It is a network that no plugin here builds.
    """
    workspace.names.check_free(ref)  # before anything is read
    candidates = candidates_of_folder(workspace, folder, options, from_plan)
    return first_that_fits(candidates, _keeper(workspace, ref, options, progress))


def import_weights(
    workspace: Workspace,
    path: Path,
    ref: Reference,
    *,
    architecture: str | None = None,
    backbone: str | None = None,
    key: str | None = None,
    progress: Progress = silent,
    from_plan: FromPlan | None = None,
    **options: Unpack[ImportOptions],
) -> Imported:
    """Store a file of weights, or the index of several, as a checkpoint named ``ref``.

    Raises:
        InvalidOption: What is stated cannot be, or nothing tells what network it is.
        Unsupported: The index is malformed, or names files that are not there. Else as
            `import_file`.
    """
    workspace.names.check_free(ref)
    with _nothing_imported():
        candidates = candidates_of_file(
            workspace,
            path,
            options,
            architecture=architecture,
            backbone=backbone,
            key=key,
            from_plan=from_plan,
        )
    with named_by_user(workspace.trust, architecture or ""):
        return _described_or_plain(
            workspace, candidates, _keeper(workspace, ref, options, progress)
        )


def plan_single(
    workspace: Workspace,
    path: Path,
    ref: Reference,
    *,
    architecture: str | None = None,
    backbone: str | None = None,
    key: str | None = None,
    **options: Unpack[ImportOptions],
) -> PlannedImport:
    """What `import_folder` or `import_weights` would make of ``path``; nothing is kept. What only
    the bytes of checkpoints here can tell, such as a parent, is not looked for.

    Raises as they do.
    """
    workspace.names.check_free(ref)

    def planned(candidate: ImportCandidate) -> PlannedImport:
        checked = check_weights(candidate)
        whole, taken = or_here_planned(workspace, ref, checked)
        # What the import itself would refuse at its end.
        _check(workspace, ref, candidate.origin, options)(None)
        if candidate.origin.parent:
            descending(whole, *candidate.origin.parent)
        return PlannedImport(
            ref=ref,
            file=candidate.path,
            backbone=whole.backbone.plugin,
            architecture=whole.backbone.architecture,
            custom=whole.backbone.custom,
            outputs=whole.head.num_classes,
            metrics=whole.metrics,
            nan_tensors=_nan_tensors(checked),
            taken=taken,
            moves_from=None if taken.here == str(ref) else before,
        )

    entry = workspace.store.read_ref(ref)
    free = entry is None or entry.deleted or options.get("force")
    before = None if entry is None or free else entry.manifest
    return first_candidate(
        workspace, path, planned, options, architecture=architecture, backbone=backbone, key=key
    )


def first_candidate(
    workspace: Workspace,
    path: Path,
    keep: Callable[[ImportCandidate], R],
    options: ImportOptions,
    *,
    architecture: str | None,
    backbone: str | None,
    key: str | None = None,
) -> R:
    """What ``keep`` makes of a file or folder as the network that it is; it stores nothing.

    Raises as `import_folder` or `import_weights`.
    """
    if path.is_dir():
        return first_that_fits(candidates_of_folder(workspace, path, options), keep)
    candidates = candidates_of_file(
        workspace, path, options, architecture=architecture, backbone=backbone, key=key
    )
    with workspace.trust.asked(architecture or ""):
        return _described_or_plain(workspace, candidates, keep)


def _nan_tensors(checked: CheckedWeights) -> tuple[str, ...]:
    tensors = (read_tensors(source, checked.candidate.key)[0] for source in checked.sources)
    return nan_tensors(
        (name, each.dtype, each.data) for read in tensors for name, each in read.items()
    )


@contextmanager
def _nothing_imported() -> Iterator[None]:
    try:
        yield
    except InvalidWeights as error:
        error.hint = "nothing was imported"
        raise


def _keeper(
    workspace: Workspace, ref: Reference, options: ImportOptions, progress: Progress
) -> Callable[[ImportCandidate], Imported]:
    def keep(candidate: ImportCandidate) -> Imported:
        free = options.get("force") or candidate.origin.from_plan.sha256
        return import_file(
            workspace,
            candidate.path,
            ref,
            candidate.origin,
            key=candidate.key,
            parts=candidate.parts,
            files=candidate.files,
            read=candidate.read,
            check=_check(workspace, ref, candidate.origin, options),
            suits=None if free else partial(workspace.names.check_descends, ref),
            progress=progress,
        )

    return keep


def _check(workspace: Workspace, ref: Reference, origin: Origin, options: ImportOptions) -> Check:
    """What raises where the name must not move to the weights of ``origin``."""
    network = Backbone(plugin=origin.plugin, architecture=origin.architecture)
    plan = origin.from_plan
    return name_check(
        workspace,
        ref,
        None if options.get("force") else network,
        sha256=plan.sha256,
        replaces=plan.replaces,
    )


def _described_or_plain(
    workspace: Workspace,
    candidates: Sequence[ImportCandidate],
    keep: Callable[[ImportCandidate], R],
) -> R:
    """What ``keep`` makes of the first candidate that its weights are of. What a config.json beside
    them describes may lie there by chance, of other weights: that only the architecture as it is
    does not fit either is the reason to refuse, if what it resembles here is no help.
    """
    refusal: InvalidWeights | Unsupported | None = None
    for candidate in candidates:
        try:
            return keep(candidate)
        except (InvalidWeights, Unsupported) as error:
            refusal = error if candidate.is_plain else refusal
    assert refusal is not None  # one of them is plain
    if alike := built_as_here(workspace, candidates):
        with suppress(InvalidWeights, Unsupported):
            return keep(alike)
    raise refusal


def import_file(
    workspace: Workspace,
    path: Path,
    ref: Reference,
    origin: Origin,
    *,
    key: str | None = None,
    parts: Sequence[Path] = (),
    files: Sequence[Path] = (),
    read: ReadWeights | None = None,
    why: str = IMPORT,
    check: Check | None = None,
    suits: Callable[[Manifest], None] | None = None,
    progress: Progress = silent,
) -> Imported:
    """Store a ``.safetensors`` or weights-only ``.pth`` file as a checkpoint named ``ref``.

    A safetensors file is kept byte for byte; a pickle, or an image encoder that comes with a text
    encoder, is rewritten as safetensors under the network's own names. It must fit the architecture
    exactly, but for a prefix of all names, and for a head that it may lack. ``key`` is the one of
    a pickle's that holds the weights. Where these are in several files, ``parts`` are these files,
    and ``path`` tells what they are called. Other ``files`` (a model card, a license text) are kept
    byte for byte beside them, under their last names. ``read`` is what is in a pickle, if it was
    read already. ``check`` is that of `new_checkpoint`; ``suits`` raises where a name that is here
    must not move to such a checkpoint.

    Raises:
        InvalidWeights: The file is unreadable, unsafe, or of another network; nothing is kept.
        InvalidOption: One of ``files`` is none, or two have one name; nothing is kept.
        UnknownName: The architecture is unknown.
        Conflict: Somebody else moved the ref meanwhile, or it is other work.
    """
    with new_checkpoint(workspace, ref, why, check=check) as new:
        candidate = ImportCandidate(
            path=path, origin=origin, key=key, parts=tuple(parts), files=tuple(files), read=read
        )
        with _nothing_imported():
            checked = check_weights(candidate)
            # Before anything is stored, as far as it shows then.
            if suits and (known := known_before(workspace, ref, checked)):
                suits(known)
            manifest, taken = stored(workspace, ref, checked, new.scratch, progress)
        if note := origin.provenance.get("note"):  # also of what was here with these bytes
            manifest = replace(manifest, provenance={**manifest.provenance, "note": note})
        if suits:
            suits(manifest)
        digest = new.commit(manifest)
    unusable = nan_tensors_here(workspace.store, manifest)
    if unusable and not origin.from_plan.sha256:  # the plan has told
        LOG.warning("%s: %s", path.name if origin.metadata else ref, words.not_finite(unusable))
    if unusable:
        problem = words.not_finite(unusable)
        note_not_finite(workspace.own(NOT_FINITE), digest, problem)
    before = moved_from(new.before, digest)
    return Imported(
        ref=ref,
        manifest=digest,
        moved_from=before,
        change=change_from(workspace.store, before, manifest),
        nan_tensors=unusable,
        taken=taken,
    )


def stored(
    workspace: Workspace, ref: Reference, checked: CheckedWeights, scratch: Path, progress: Progress
) -> tuple[Manifest, ImportReport]:
    """The manifest of a checkpoint that is to be ``ref``, when all of it is in the store; and what
    of the file it is.
    """
    store, candidate, origin = workspace.store, checked.candidate, checked.candidate.origin
    path, network, taken = candidate.path, checked.network, checked.taken
    if origin.parent:
        descending(checked.manifest, *origin.parent)  # before anything is stored
    sources, names = checked.sources, [source.name for source in candidate.parts] or [MAIN]
    tower = origin.layout is not None and origin.layout.tower
    changed = tower or taken.stripped or taken.tensors_left_out
    if network and (changed or not all(map(is_safetensors, sources))):
        sources, names = (scratch / MAIN,), [MAIN]
        network.save(sources[0])
    weights = tuple(
        add_weights(store, source, name=name, progress=progress)
        for source, name in zip(sources, names, strict=True)
    )
    # The digest that the publisher states is of the file as it came, not of what it became here.
    whole = sources == (path,)
    file_hash = weights[0].sha256.hex if whole else origin.from_plan.hash_of(path)
    if origin.from_plan.sha256 not in ("", file_hash):
        # The name, the network and the metrics of the plan are those of other bytes.
        raise InvalidWeights(path, "has changed since the import was planned: plan it again")
    manifest = replace(
        checked.manifest,
        weights=weights,
        provenance={**checked.manifest.provenance, "file": path.name, "sha256": file_hash},
        files=tuple(add_file(store, file, name=file.name) for file in candidate.files),
    )
    if origin.parent:
        manifest = descending(manifest, *origin.parent)
    if not origin.metadata:  # a pull, which is the same whoever pulls it
        return manifest, taken
    if odd := words.not_finite(nan_tensors_here(store, manifest)):
        manifest = replace(manifest, provenance={**manifest.provenance, "warning": odd})
    return _completed(workspace, ref, replace(checked, manifest=manifest))


def _completed(
    workspace: Workspace, ref: Reference, checked: CheckedWeights
) -> tuple[Manifest, ImportReport]:
    """The manifest with what is told of it, and found; its tensors are stored."""
    manifest, origin = checked.manifest, checked.candidate.origin
    if origin.from_plan.seen is not None:
        return _of_others(workspace, checked, origin.from_plan.seen)
    alone, problem = origin.may_be_here, ""
    if origin.layout and origin.layout.record:
        manifest, problem = proven(workspace, manifest, origin.layout.record)
        checked = replace(checked, manifest=manifest)
    whole, report = checked.resolved()
    if not (alone or report.unknown or origin.find):
        return with_folder(workspace, (whole, report), checked.candidate, problem)
    alike = relatives(workspace, manifest)
    if report.unknown and (more := infer_metadata(workspace, manifest, alike)):
        whole, report = checked.resolved_with((*checked.metadata, *more))
    if alone:
        sha256 = manifest.provenance["sha256"]
        whole, report = or_here(workspace, ref, checked.candidate, sha256, alike, (whole, report))
    whole, report = with_folder(workspace, (whole, report), checked.candidate, problem)
    if origin.find is None:
        return whole, report
    base = None if whole.parents else origin.find(manifest, alike)
    whole = derived(whole, base) if base else whole
    parent = f"{base.ref}, {base}" if base else "" if whole.parents else NONE_FOUND
    return whole, replace(report, parent=parent)


def _of_others(
    workspace: Workspace, checked: CheckedWeights, seen: frozenset[Digest]
) -> tuple[Manifest, ImportReport]:
    """The same of what somebody has sent who may see these checkpoints alone."""
    manifest, origin = checked.manifest, checked.candidate.origin
    record = origin.layout.record if origin.layout else None
    if record and record.parent and record.parent.manifest in seen:
        manifest, _ = proven(workspace, manifest, record)
    elif manifest.parents:  # whether it is here is not told
        provenance = {key: text for key, text in manifest.provenance.items() if key != "parent"}
        manifest = replace(manifest, parents=(), provenance=provenance)
    checked = replace(checked, manifest=manifest)
    whole, report = checked.resolved()
    if whole.parents or origin.find is None:
        return whole, report
    alike = [one for one in relatives(workspace, manifest) if one.digest in seen]
    base = origin.find(manifest, alike)
    return (derived(whole, base) if base else whole), report


def first_that_fits(described: Sequence[T], keep: Callable[[T], R]) -> R:
    """What ``keep`` makes of the first description whose weights are those of its network.

    Raises:
        InvalidWeights, MissingPackage, UnknownName, Unsupported: None is; why the first is not.
    """
    refusals = []
    for each in described:
        try:
            return keep(each)
        except UNFIT as error:
            refusals.append(error)
    raise refusals[0]
