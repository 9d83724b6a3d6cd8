"""Seen: which images a checkpoint was trained on or chosen by, as far as it is known here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.errors import ZooError
from zoo.finetune.dataset.dataset import Dataset
from zoo.lookup.edited import before_edits
from zoo.lookup.runs import DIGITS, Run, list_runs
from zoo.workspace import Workspace

__all__ = ["manifest_if_here", "runs_by_result", "seen"]


def runs_by_result(workspace: Workspace) -> Mapping[str, Sequence[Run]]:
    """The runs of this zoo by the manifest that each made."""
    found: dict[str, list[Run]] = defaultdict(list)
    for run in list_runs(workspace):
        found[str(run.result.get("manifest"))].append(run)
    return found


def seen(
    workspace: Workspace, digest: Digest, dataset: Dataset, runs: Mapping[str, Sequence[Run]]
) -> int:
    """On how many of the training and validation images of ``dataset`` a checkpoint, or one that it
    derives from, was trained, or by how many it was chosen: it knows their labels.

    That is known of the same data (`Dataset.digest`), and of the ``runs`` of this zoo.
    """
    samples = (*dataset.train, *dataset.validation)
    line = {digest, *workspace.store.manifest(digest).ancestry()}
    line |= {before for each in line for before in before_edits(workspace, each)}
    known = filter(None, (manifest_if_here(workspace, each) for each in line))
    if any(each.provenance.get("data_digest") == dataset.digest for each in known):
        return len(samples)
    images = frozenset[str]().union(
        *(run.images() for each in line for run in runs.get(str(each), ()))
    )
    return sum(dataset.digests[sample.key][:DIGITS] in images for sample in samples)


def manifest_if_here(workspace: Workspace, digest: Digest) -> Manifest | None:
    """What a checkpoint says of itself; None if it is gone, or damaged."""
    try:
        return workspace.store.manifest(digest)
    except ZooError:
        return None
