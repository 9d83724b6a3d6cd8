"""Import a folder with all below it: carry out a plan, file by file, whatever one of them is."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

from zoo.domain.digest import Digest
from zoo.domain.import_options import AUTO, ImportOptions
from zoo.domain.progress import Progress, silent
from zoo.errors import DiskFull, ZooError
from zoo.exchange.importing import Imported, import_folder, import_weights
from zoo.exchange.origin import Beside
from zoo.exchange.planned import ImportPlan, PlannedFile
from zoo.lookup.parent import ParentFinder
from zoo.workspace import Workspace

__all__ = ["carry_out"]


def carry_out(
    workspace: Workspace,
    plan: ImportPlan,
    *,
    progress: Progress = silent,
    **stated: Unpack[ImportOptions],
) -> ImportPlan:
    """Import what ``plan`` lists as new; the plan, with what came of each file.

    What was imported stays if it is cut off: planned again, it is here. A file that cannot be
    imported is ``bad``, and keeps no other from it.

    Raises:
        DiskFull: No space left.
    """
    finder = ParentFinder(workspace)
    made: dict[str, Digest] = {}
    done = []
    size = float(sum(file.size for file in plan.having("new")))
    with progress("importing", size, "B") as task:
        for file in plan.files:
            if file.status == "new":
                file = _imported(workspace, file, made, finder, stated)
                task.advance(file.size, note=file.path.name)
            done.append(file)
    return replace(plan, files=tuple(done))


def _imported(
    workspace: Workspace,
    file: PlannedFile,
    made: dict[str, Digest],
    finder: ParentFinder,
    stated: ImportOptions,
) -> PlannedFile:
    notes, refs = list[str](), file.refs
    try:
        digest = made.get(file.sha256) or file.manifest
        if digest is None:
            refs = refs[1:]
            imported = _import(workspace, file, finder, stated)
            digest = imported.manifest
            notes = [text for text in (str(imported.taken), imported.taken.said) if text]
        made[file.sha256] = digest
        for ref in refs:
            workspace.names.check_free(ref)
            workspace.move(ref, digest, "import")
    except DiskFull:
        raise
    except (ZooError, OSError) as error:
        problem = getattr(error, "reason", "") or str(error)
        return replace(file, status="bad", problem=problem)
    return replace(file, status="imported", manifest=digest, notes=tuple(notes))


def _import(
    workspace: Workspace, file: PlannedFile, finder: ParentFinder, stated: ImportOptions
) -> Imported:
    ref = file.refs[0]
    beside = Beside(
        metrics=file.metrics,
        metrics_by=file.metrics_by,
        finder=finder if stated.get("parent") == AUTO else None,
        sha256=file.sha256,
        unchanged=file.unchanged,
    )
    if file.path.is_dir():
        return import_folder(workspace, file.path, ref, beside=beside, **stated)
    return import_weights(
        workspace,
        file.path,
        ref,
        architecture=file.architecture,
        backbone=file.backbone,
        beside=beside,
        **stated,
    )
