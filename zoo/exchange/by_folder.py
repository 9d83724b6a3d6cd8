"""By folder: what an exported folder states of its weights, told, and its parent compared."""

from __future__ import annotations

from dataclasses import replace

from zoo.domain.manifest import DECLARED, Manifest
from zoo.exchange.folder_record import BY_FOLDER, FolderRecord
from zoo.exchange.import_candidates import ImportCandidate
from zoo.exchange.import_report import ImportReport
from zoo.lookup.check import check_parent
from zoo.workspace import Workspace

__all__ = ["proven", "with_folder"]

LISTED = 3
"""Metrics that a line lists of a checkpoint without an accuracy."""


def proven(workspace: Workspace, manifest: Manifest, record: FolderRecord) -> tuple[Manifest, str]:
    """``manifest``, whose tensors are stored, with the parent that its folder states: as its parent
    if that is here and its bytes agree, as declared if it is not here, else without it; and then
    what is wrong.
    """
    parent = record.parent
    if parent is None or not any(each.relation == DECLARED for each in manifest.parents):
        return manifest, ""
    alone = replace(manifest, parents=())
    check = check_parent(workspace, parent.manifest, alone, parent.manifest)
    if check is None:
        return manifest, ""
    if not check.agrees:
        rest = {key: text for key, text in alone.provenance.items() if key != "parent"}
        return replace(alone, provenance=rest), f"not {parent.ref} as its parent: {check.warning}"
    return alone.descending(workspace.store.manifest(parent.manifest), parent), ""


def _stated(workspace: Workspace, manifest: Manifest, record: FolderRecord) -> str:
    """What of a checkpoint its folder states, in a line; empty if nothing."""
    provenance, parts = manifest.provenance, []
    if provenance.get("metrics", "").startswith(BY_FOLDER):
        main = ["accuracy"] if "accuracy" in manifest.metrics else list(manifest.metrics)[:LISTED]
        parts += [f"{name} {manifest.metrics[name]:.4g}" for name in main]
    if record.dataset and provenance.get("dataset") == record.dataset:
        parts.append(f"data set {record.dataset}")
    if manifest.parents and provenance.get("parent", "").startswith(BY_FOLDER):
        parent = manifest.parents[0]
        here = workspace.store.has_manifest(parent.manifest)
        if parent.relation != DECLARED:
            how = "its bytes agree"
        else:
            how = "to be compared with its bytes" if here else "not here to be compared"
        parts.append(f"parent {parent.ref} ({how})")
    return ", ".join(parts)


def with_folder(
    workspace: Workspace,
    resolved: tuple[Manifest, ImportReport],
    candidate: ImportCandidate,
    not_taken: str = "",
) -> tuple[Manifest, ImportReport]:
    """With what the folder of the weights states of them, in words."""
    (whole, report), layout = resolved, candidate.origin.layout
    if layout is None or layout.record is None or layout.whole is None:
        return resolved
    stated = _stated(workspace, whole, layout.record)
    if not layout.recorded:
        not_taken = "nothing that is taken: its figures are of other weights"
    return whole, replace(report, folder=", ".join(filter(None, (stated, not_taken))))
