"""Import a folder with all below it: run a plan, file by file, whatever one of them is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Unpack, cast

from zoo.domain.digest import Digest
from zoo.domain.import_options import ImportOptions
from zoo.domain.manifest import Backbone
from zoo.domain.progress import Progress, silent
from zoo.domain.reference import Reference
from zoo.errors import DiskFull, InvalidOption, ZooError
from zoo.exchange.commit import new_checkpoint
from zoo.exchange.complete_manifest import completed, not_recorded
from zoo.exchange.here_already import differing
from zoo.exchange.import_names import IMPORT, name_check
from zoo.exchange.import_parents import fetched_parent
from zoo.exchange.importing import Imported, import_folder, import_weights
from zoo.exchange.origin import FromPlan, origin_of
from zoo.exchange.planned import ImportPlan, PlannedFile
from zoo.exchange.survey import problem_of
from zoo.lookup.parent import FoundParent
from zoo.transfer.changes import change_from
from zoo.workspace import Check, Workspace

__all__ = ["run_import"]


def run_import(
    workspace: Workspace,
    plan: ImportPlan,
    *,
    progress: Progress = silent,
    **options: Unpack[ImportOptions],
) -> ImportPlan:
    """Import what ``plan`` lists as new; the plan, with what came of each file.

    What was imported stays if it is cut off: planned again, it is here. A file that cannot be
    imported is ``bad``, and keeps no other from it.

    Raises:
        InvalidOption: The plan was made for another parent.
        DiskFull: No space left.
    """
    if (options.get("parent") or plan.parent) != plan.parent:
        raise InvalidOption("a plan has the parents of its files: give `parent` when it is made")
    options["parent"] = plan.parent or None  # also where it is not said again
    so_far = _ImportedSoFar({file.path: file.sha256 for file in plan.files})
    done = []
    size = float(sum(file.size for file in plan.having("new")))
    with progress("importing", size, "B") as task:
        for file in plan.files:
            if file.status == "new":
                file = _imported(workspace, file, so_far, options)
                task.advance(file.size, note=file.path.name)
            done.append(file)
    return replace(plan, files=tuple(done))


@dataclass(frozen=True, slots=True)
class _ImportedSoFar:
    """What came of the files so far: checkpoints by the hash of their file, and of those that were
    completed the new ones by the old.
    """

    hashes: Mapping[Path, str]
    by_hash: dict[str, Digest] = field(default_factory=dict)
    anew: dict[Digest, Digest] = field(default_factory=dict)

    def parent(self, file: PlannedFile) -> Digest | None:
        """The parent of a file; None if it has none, or that could not be imported."""
        if file.parent is None:
            return None
        if file.parent.manifest:
            return self.anew.get(file.parent.manifest, file.parent.manifest)
        return self.by_hash.get(self.hashes[file.parent.file]) if file.parent.file else None


def _imported(
    workspace: Workspace, file: PlannedFile, so_far: _ImportedSoFar, options: ImportOptions
) -> PlannedFile:
    notes = list[str]()
    try:
        digest = so_far.by_hash.get(file.sha256)
        if digest is None:
            if (parent := so_far.parent(file)) is None:  # of those of the plan, it was bad
                file = replace(file, parent=None)
            from_plan = _from_plan(workspace, file, parent)
            if file.manifest is None:
                imported = _import(workspace, file, from_plan, options)
                digest, taken = imported.manifest, replace(imported.taken, parent="")
                notes = [text for text in (str(taken), taken.summary) if text]
            else:
                before, file = file.manifest, _complete(workspace, file, from_plan, options)
                so_far.anew[before] = digest = cast(Digest, file.manifest)
        so_far.by_hash[file.sha256] = digest
        manifest = workspace.store.manifest(digest)
        for before in dict.fromkeys(file.moves.values()):
            change = change_from(workspace.store, before, manifest)
            notes += change.lines if change else ()
        network = None if options.get("force") else manifest.backbone
        for ref in file.refs:  # the first is there
            workspace.move(ref, digest, IMPORT, check=_check(workspace, ref, file, network))
    except DiskFull:
        raise
    except (ZooError, OSError) as error:
        return replace(file, status="bad", problem=problem_of(error))
    return replace(file, status="imported", manifest=digest, notes=tuple(notes))


def _check(
    workspace: Workspace, ref: Reference, file: PlannedFile, network: Backbone | None
) -> Check:
    before = file.moves.get(str(ref))
    return name_check(workspace, ref, network, sha256=file.sha256, replaces=before)


def _from_plan(workspace: Workspace, file: PlannedFile, parent: Digest | None) -> FromPlan:
    base: FoundParent | None = None
    if file.parent and parent:
        base = fetched_parent(file.parent, parent, workspace.store.manifest(parent))
    return FromPlan(
        metrics=file.metrics,
        metrics_by=file.metrics_by,
        find=lambda *_: base,
        parent=(file.parent.ref, parent) if file.parent and parent else None,
        sha256=file.sha256,
        unchanged=file.unchanged,
        replaces=file.moves.get(str(file.refs[0])),
    )


def _complete(
    workspace: Workspace, file: PlannedFile, from_plan: FromPlan, options: ImportOptions
) -> PlannedFile:
    """The file as the checkpoint of the same bytes with what that lacks; its other names stay where
    they are.
    """
    digest = cast(Digest, file.manifest)
    manifest = workspace.store.manifest(digest)
    origin = origin_of(workspace, "file", options, from_plan)
    whole = completed(manifest, digest, origin)
    adds = (*file.adds, *(each for each in differing(manifest, whole) if each not in file.adds))
    keeps = tuple(dict.fromkeys((*file.keeps, *not_recorded(whole, origin))))
    if whole == manifest:
        return replace(file, keeps=keeps)
    ref, network = file.refs[0], None if options.get("force") else manifest.backbone
    with new_checkpoint(workspace, ref, IMPORT, check=_check(workspace, ref, file, network)) as new:
        return replace(file, manifest=new.commit(whole), adds=adds, keeps=keeps)


def _import(
    workspace: Workspace, file: PlannedFile, from_plan: FromPlan, options: ImportOptions
) -> Imported:
    ref = file.refs[0]
    if file.path.is_dir():
        return import_folder(workspace, file.path, ref, from_plan=from_plan, **options)
    return import_weights(
        workspace,
        file.path,
        ref,
        architecture=file.architecture,
        backbone=file.backbone,
        from_plan=from_plan,
        **options,
    )
