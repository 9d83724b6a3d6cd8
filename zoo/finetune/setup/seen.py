"""Seen: which images a checkpoint was trained on or chosen by, as far as it is known here; and what
a base of a fine-tune leaves to test on.

Runs of this zoo note it by the digests of images, whatever data they are in. Of a checkpoint that
was pulled, the split of the same data is drawn again as its recipe says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from zoo.domain.digest import Digest
from zoo.domain.manifest import DECLARED, Manifest
from zoo.domain.progress import Progress, silent
from zoo.domain.recipe import Recipe
from zoo.domain.words import plural, too_good
from zoo.errors import ZooError
from zoo.finetune.dataset.dataset import Dataset, Sample
from zoo.finetune.dataset.spec import DatasetOptions, opening_of
from zoo.finetune.setup.data import dataset_of
from zoo.lookup.edited import before_edits
from zoo.lookup.runs import DIGITS, Run, list_runs
from zoo.workspace import Workspace

__all__ = [
    "OpenedDataset",
    "SeenBy",
    "among",
    "manifest_if_here",
    "open_for",
    "runs_by_result",
    "seen",
]


def runs_by_result(workspace: Workspace) -> Mapping[str, Sequence[Run]]:
    """The runs of this zoo by the manifest that each made."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for run in list_runs(workspace):
        runs[str(run.result.get("manifest"))].append(run)
    return runs


def seen(
    workspace: Workspace, digest: Digest, dataset: Dataset, runs: Mapping[str, Sequence[Run]]
) -> int:
    """On how many of the training and validation images of ``dataset`` a checkpoint, or one that it
    derives from, was trained, or by how many it was chosen: it knows their labels.

    That is known of the same data (`Dataset.digest`), and of the ``runs`` of this zoo.
    """
    samples = (*dataset.train, *dataset.validation)
    line = _line(workspace, digest)
    known = filter(None, (manifest_if_here(workspace, each) for each in line))
    if any(each.provenance.get("data_digest") == dataset.digest for each in known):
        return len(samples)
    images = frozenset[str]().union(*(_noted(runs, each) for each in line))
    return among(images, dataset, samples)


def manifest_if_here(workspace: Workspace, digest: Digest) -> Manifest | None:
    """What a checkpoint says of itself; None if it is gone, or damaged."""
    try:
        return workspace.store.manifest(digest)
    except ZooError:
        return None


class SeenBy:
    """Which images of ``dataset`` checkpoints have seen. What others have of it is drawn again
    with the options of ``opening``; ``folder`` is for caches.
    """

    def __init__(
        self, workspace: Workspace, dataset: Dataset, opening: DatasetOptions, folder: Path
    ) -> None:
        self._workspace, self._dataset = workspace, dataset
        self._opening, self._folder = opening, folder
        self._runs: Mapping[str, Sequence[Run]] | None = None
        self._splits: dict[Digest, Dataset | None] = {}

    def images(self, digest: Digest) -> frozenset[str]:
        """The first `DIGITS` digits of the digests of those that a checkpoint, or one that it
        derives from, was trained on or chosen by.
        """
        # The first ones first: what a later one kept apart is known then.
        line = reversed(_line(self._workspace, digest))
        return frozenset[str]().union(*(self._own(each) for each in line))

    def split(self, digest: Digest) -> Dataset | None:
        """The images in the parts that a checkpoint was trained and tested on, if on these."""
        if digest not in self._splits:
            self._splits[digest] = self._split(digest)
        return self._splits[digest]

    def _split(self, digest: Digest) -> Dataset | None:
        manifest = manifest_if_here(self._workspace, digest)
        known = manifest.provenance if manifest else {}
        if not manifest or not manifest.recipe or known.get("data_digest") != self._dataset.digest:
            return None
        asked = {**manifest.recipe, "data": self._dataset.spec, **asdict(self._opening)}
        try:
            recipe, base = Recipe.recorded(asked), frozenset[str]()
            if recipe.held_out == "unseen" and manifest.parents:
                base = self.images(manifest.parents[0].manifest)
            own = dataset_of(self._folder, recipe, silent, seen=base)
        except ZooError:  # an option of another version
            return None
        return own if own.split_digest == known.get("split_digest") else None

    def _own(self, digest: Digest) -> frozenset[str]:
        known = manifest_if_here(self._workspace, digest)
        if known and not known.recipe:  # no run made it
            return frozenset()
        if self._runs is None:
            self._runs = runs_by_result(self._workspace)
        if noted := _noted(self._runs, digest):
            return noted
        own = self.split(digest)
        samples = (*own.train, *own.validation) if own else ()
        return frozenset(self._dataset.digests[sample.key][:DIGITS] for sample in samples)


class OpenedDataset(NamedTuple):
    """The images of a recipe, split for its base; and the recipe, which says by what rule."""

    dataset: Dataset
    recipe: Recipe
    seen: int  # how many of the test images the base, or the run itself, sees all the same
    seen_by: str  # which of them


def open_for(
    workspace: Workspace,
    parent: Digest,
    name: str,
    recipe: Recipe,
    folder: Path,
    progress: Progress,
    *,
    skip_alone: bool = False,
) -> OpenedDataset:
    """The images that ``recipe`` names, split as it says for the base ``parent``, which the remarks
    call ``name``; ``folder`` is for caches.
    """
    dataset = dataset_of(folder, recipe, progress, skip_alone=skip_alone)
    samples = (*dataset.train, *dataset.validation, *dataset.test)
    images = SeenBy(workspace, dataset, opening_of(recipe), folder).images(parent)
    known, notes = among(images, dataset, samples), list[str]()
    if not known and recipe.held_out == "any":  # so older recipes say
        recipe = replace(recipe, held_out="auto")
    if known and recipe.held_out != "any":
        apart = dataset_of(folder, recipe, silent, seen=images, skip_alone=skip_alone)
        if apart.split_digest != dataset.split_digest:
            dataset, recipe = apart, replace(recipe, held_out="unseen")
            notes.append(
                f"what is to test on is drawn from the {len(samples) - known:,} of these "
                f"{plural(len(samples), 'image')} that {name} was neither trained on nor chosen by"
            )
    if tested := among(images, dataset, dataset.test):
        notes.append(too_good(tested, len(dataset.test), name))
    # Of copies in its own parts the dataset has a remark that names some.
    own = frozenset(
        dataset.digests[sample.key][:DIGITS] for sample in (*dataset.train, *dataset.validation)
    )
    by = {name: tested, "this run": among(own, dataset, dataset.test)}
    seen_by = " or ".join(one for one, number in by.items() if number)
    number = among(images | own, dataset, dataset.test)
    remarks = (*dataset.remarks, *notes)
    return OpenedDataset(replace(dataset, remarks=remarks), recipe, number, seen_by)


def _line(workspace: Workspace, digest: Digest) -> list[Digest]:
    """A checkpoint and those that it derives from, the nearest first, with what each was before it
    was edited.
    """
    lineage = workspace.store.manifest(digest).lineage()
    above = (parent.manifest for _, parent in lineage if parent.relation != DECLARED)
    line = dict.fromkeys((digest, *above))
    return [*dict.fromkeys(x for each in line for x in (each, *before_edits(workspace, each)))]


def _noted(runs: Mapping[str, Sequence[Run]], digest: Digest) -> frozenset[str]:
    """What the runs that made a checkpoint noted."""
    return frozenset[str]().union(*(run.images() for run in runs.get(str(digest), ())))


def among(images: frozenset[str], dataset: Dataset, samples: Sequence[Sample]) -> int:
    """How many ``samples`` of ``dataset`` are among ``images`` (`SeenBy.images`)."""
    return sum(dataset.digests[sample.key][:DIGITS] in images for sample in samples)
