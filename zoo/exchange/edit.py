"""Edit: state what nobody wrote down of a checkpoint that is here. Its weights stay what they are.

As a manifest never changes, that is another checkpoint of the same weights, to which the name
moves. What derives from the one before is told as deriving from these weights (`zoo log`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack, cast

from zoo.domain import metric_names
from zoo.domain.calibration import CALIBRATION_FILE, CARD_SECTION, subject
from zoo.domain.change import Change, change_of
from zoo.domain.digest import Digest
from zoo.domain.evaluated import Evaluated
from zoo.domain.import_options import ImportOptions, StatedOptions
from zoo.domain.limits import CONFIG_BYTES
from zoo.domain.manifest import EDITED, SETTINGS, STATED_HERE, Manifest
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.domain.surgery import Surgery
from zoo.domain.task import Task, task_of
from zoo.errors import Conflict, InvalidOption, InvalidWeights
from zoo.exchange.commit import new_checkpoint
from zoo.exchange.complete_manifest import with_stated, without_stated
from zoo.exchange.layouts import CARD
from zoo.exchange.metadata import Metadata
from zoo.exchange.origin import Origin, origin_of
from zoo.exchange.resolve_metadata import restated
from zoo.reflog import check_movable
from zoo.store.encoded import read_object
from zoo.store.files import add_file
from zoo.store.side_files import BENCHES, EVALUATIONS
from zoo.workspace import Workspace

__all__ = ["Edited", "edit"]

TRUST = re.compile(rb"\n" + CARD_SECTION.encode() + rb"\n.*?(?=\n## |\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Edited(Result):
    """A checkpoint of which more is stated.

    Attributes:
        ref: Its name.
        manifest: Its identity.
        moved_from: What the name pointed at before; None if all was so already.
        changed: What is stated otherwise now: ``classes``, ``license``, …
        change: What differs for those who use the name.
        unknown: What nobody has stated yet.
        remarks: What is to be known of it.
    """

    ref: Reference
    manifest: Digest
    moved_from: Digest | None
    changed: tuple[str, ...]
    change: Change | None
    unknown: tuple[str, ...]
    remarks: tuple[str, ...]


def edit(
    workspace: Workspace,
    name: str,
    *,
    unset: Sequence[str] = (),
    force: bool = False,
    **options: Unpack[StatedOptions],
) -> Edited:
    """State ``options`` of the checkpoint ``name``, and take the figures ``unset`` back; all else
    of it stays. Of a figure that was measured another one, or none, is stated with ``force`` alone,
    as is another task than what it was trained for here.

    Raises:
        InvalidOption: Nothing is stated, or what cannot be; or there is no figure to take back.
        Conflict: It is a published name, or protected, or the figure was measured, or the task
            learned; nothing was changed.
    """
    ref, digest = workspace.names.resolve(name)
    if ref is None:
        raise InvalidOption(f"edit needs a name, not a digest: zoo tag {name} NAME, then edit that")
    _check_own(workspace, ref)
    before = workspace.store.manifest(digest)
    origin = origin_of(workspace, "", cast(ImportOptions, options), None)
    evaluations = EVALUATIONS.of(workspace.store.disk, digest)
    if not force:
        _check_unmeasured(ref, before, evaluations, origin.metrics)
        _check_untrained(ref, before, origin.metadata[0].task)
    _check_unset(ref, before, unset, force=force)
    whole = _stated(workspace, before, origin, unset)
    changed = tuple(_changed(before, whole))
    if not changed:
        return _edited(ref, digest, None, (), before, before, ())
    slips = filter(None, map(metric_names.remark, options.get("metrics") or ()))
    remarks = (*slips, *_remarks(workspace, ref, digest, before, changed))
    whole = replace(whole, provenance={**whole.provenance, EDITED: str(digest)})
    with new_checkpoint(workspace, ref, f"edit: {', '.join(changed)}") as new:
        if len(whole.files) < len(before.files):  # the calibration is gone
            whole = _without_trust(workspace, whole, new.scratch)
        edited = new.commit(whole)
    for bench in BENCHES.of(workspace.store.disk, digest):
        if bench.input_size == whole.preprocessing.input_size:
            workspace.keep_figures(BENCHES, replace(bench, manifest=edited))
    if not {"classes", "task", "preprocessing"} & {*changed}:
        # What was measured of it is true of it.
        for each in evaluations:
            workspace.keep_figures(EVALUATIONS, replace(each, manifest=edited))
    return _edited(ref, edited, digest, changed, before, whole, remarks)


def _edited(
    ref: Reference,
    digest: Digest,
    moved_from: Digest | None,
    changed: tuple[str, ...],
    before: Manifest,
    after: Manifest,
    remarks: tuple[str, ...],
) -> Edited:
    return Edited(
        ref=ref,
        manifest=digest,
        moved_from=moved_from,
        changed=changed,
        change=change_of(before, after),
        unknown=after.unknown,
        remarks=remarks,
    )


def _check_own(workspace: Workspace, ref: Reference) -> None:
    check_movable(workspace.store, ref, workspace.store.read_ref(ref))
    try:
        workspace.names.check_free(ref)
    except Conflict as error:
        error.hint = f"give it a name of yours, and edit that: zoo tag {ref} team/{ref.name}"
        raise


def _check_unmeasured(
    ref: Reference, before: Manifest, evaluations: Sequence[Evaluated], figures: Mapping[str, float]
) -> None:
    """That no figure takes the place of another one that was measured."""
    for name, value in figures.items():
        known = {} if name in before.stated_metrics else {"its training": before.metrics}
        known |= {f"zoo evaluate on {each.data}": each.metrics for each in reversed(evaluations)}
        measured = {by: of[name] for by, of in known.items() if name in of}
        if measured and value not in measured.values():
            by, figure = next(reversed(measured.items()))
            raise Conflict(
                f"the {name} of {ref} was measured: {figure:.4g} ({by})",
                hint=f"zoo evaluate {ref} DATA measures it again; --force states {value:g} all "
                "the same, marked as stated",
            )


def _check_untrained(ref: Reference, before: Manifest, task: Task | None) -> None:
    """That it was not trained for another task than what is stated."""
    learned = task_of(before)
    if task and task != learned and before.freeze is not None:
        raise Conflict(
            f"{ref} was trained here for {learned}",
            hint="what its outputs mean is known; --force states it otherwise all the same",
        )


def _check_unset(ref: Reference, before: Manifest, unset: Sequence[str], *, force: bool) -> None:
    """That what is taken back is there, and was stated."""
    for name in unset:
        if name not in before.metrics:
            has = ", ".join(before.metrics) or "none"
            raise InvalidOption(f"{ref} has no metric '{name}' to take back; it has: {has}")
        if name not in before.stated_metrics and not force:
            raise Conflict(
                f"the {name} of {ref} was measured: {before.metrics[name]:.4g}",
                hint="what was stated can be taken back; --force takes this back all the same",
            )


def _stated(
    workspace: Workspace, manifest: Manifest, origin: Origin, unset: Sequence[str]
) -> Manifest:
    """``manifest`` with what the user says."""
    facts, stated = origin.metadata[0], origin.provenance
    others = {"dataset", "note"} & stated.keys()
    if not (facts or origin.license or origin.metrics or others or unset):
        raise InvalidOption("nothing is stated: --classes FILE, --license ID, --dataset NAME, …")
    whole = restated(manifest, facts)
    if facts.image_size:
        whole = _for_size(workspace, whole, facts.image_size)
    provenance = dict(whole.provenance)
    provenance |= {name: stated[name] for name in ("dataset", "note") if name in stated}
    whole = replace(whole, license=origin.license or whole.license, provenance=provenance)
    whole = _with_figures(whole, origin.metrics, unset)
    same = subject(whole) == subject(manifest) and task_of(whole) == task_of(manifest)
    if not same:  # what was kept of its answers is of others now
        kept = tuple(file for file in whole.files if file.name != CALIBRATION_FILE)
        whole = replace(whole, files=kept)
    return with_stated(whole, {*_fields(facts, origin)})


def _without_trust(workspace: Workspace, manifest: Manifest, scratch: Path) -> Manifest:
    """``manifest`` with a model card that tells of no calibration."""
    files = []
    for file in manifest.files:
        if file.name == CARD and file.size <= CONFIG_BYTES:
            data = b"".join(read_object(workspace.store, file.object, least=file.size))
            (scratch / CARD).write_bytes(TRUST.sub(b"", data[: file.size]))
            files.append(add_file(workspace.store, scratch / CARD, name=CARD))
        else:
            files.append(file)
    return replace(manifest, files=tuple(files))


def _with_figures(
    manifest: Manifest, stated: Mapping[str, float], unset: Sequence[str]
) -> Manifest:
    """``manifest`` with these figures, and without those that are taken back."""
    metrics, provenance = dict(manifest.metrics), dict(manifest.provenance)
    new = {name: value for name, value in stated.items() if metrics.get(name) != value}
    for name in (*new, *unset):
        for old in (name, f"{name}_low", f"{name}_high"):  # an interval is of what was measured
            metrics.pop(old, None)
    metrics |= new
    names = {*manifest.stated_metrics, *new} & metrics.keys()
    if names and (new or unset):
        provenance["metrics"] = f"{STATED_HERE}, not measured: {', '.join(sorted(names))}"
    elif unset and (manifest.stated_metrics or not metrics):
        provenance.pop("metrics", None)
    whole = replace(manifest, metrics=metrics, provenance=provenance)
    return whole if names or not unset else without_stated(whole, "metrics")


def _fields(facts: Metadata, origin: Origin) -> Iterator[str]:
    """The fields of a manifest that are stated."""
    values = {
        "classes": facts.classes,
        "task": facts.task,
        "preprocessing": any(getattr(facts, name) for name in SETTINGS),
        "license": origin.license,
        "dataset": "dataset" in origin.provenance,
        "metrics": origin.metrics,
    }
    yield from (name for name, value in values.items() if value)


def _changed(before: Manifest, after: Manifest) -> Iterator[str]:
    """What is another one, in the words of the options. That it is stated now, too, is no news."""
    for name in ("classes", "license", "metrics"):
        if getattr(before, name) != getattr(after, name):
            yield name
    if task_of(before) != task_of(after):
        yield "task"
    both = [(each.preprocessing, each.guessed, each.unknown) for each in (before, after)]
    if both[0][:2] != both[1][:2] or {*both[0][2]} - {"classes"} != {*both[1][2]} - {"classes"}:
        yield "preprocessing"
    for name in ("dataset", "note"):
        if before.provenance.get(name) != after.provenance.get(name):
            yield name


def _for_size(workspace: Workspace, manifest: Manifest, size: tuple[int, int]) -> Manifest:
    """``manifest`` as of a network for images of that size, if its weights are of one."""
    surgery = replace(Surgery.parse(manifest.backbone.options), image_size=size)
    backbone = replace(manifest.backbone, options=surgery.to_options())
    whole = replace(manifest, backbone=backbone)
    from zoo.backbones.load import check_fits  # torch, which nothing else here needs

    try:
        check_fits(workspace.store, whole)
    except InvalidWeights as error:
        shown = "x".join(map(str, size))
        raise InvalidOption(
            f"the weights are of a network for images of another size than {shown}",
            hint=f"zoo adapt --image-size {shown} makes one of them that takes these",
        ) from error
    return whole


def _remarks(
    workspace: Workspace,
    ref: Reference,
    digest: Digest,
    before: Manifest,
    changed: tuple[str, ...],
) -> Iterator[str]:
    other = [name for name in ("task", "preprocessing") if name in changed]
    if other and before.metrics:
        yield f"its figures are of the {other[0]} before; zoo evaluate measures it anew"
    elsewhere = [str(each) for each in workspace.registry.refs_of(digest) if each != ref]
    if elsewhere:
        stay = "stays as it was" if len(elsewhere) == 1 else "stay as they were"
        yield f"{', '.join(elsewhere)} {stay}"
