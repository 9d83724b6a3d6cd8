"""Parents of the files of a plan, found before anything is imported: a plan shows them.

Bytes do not tell which of two checkpoints was first, but a plan knows what is of one run. Of the
files of one import, only the epoch before can be the parent; what is of other runs is a sibling.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.domain.digest import Digest
from zoo.domain.manifest import Backbone, Manifest
from zoo.errors import ZooError
from zoo.exchange.file_sketch import file_sketch
from zoo.exchange.identifying import read_tensors
from zoo.exchange.origin import IMPORTED
from zoo.exchange.planned import Draft, PlannedFile, PlannedParent
from zoo.lookup.identify import since
from zoo.lookup.parent import ALIKE, LEAST, FoundParent, ParentFinder, evidence
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from zoo.store.nearness import Sketch

__all__ = ["Parents", "fetched_parent"]

SKETCHES = 64
"""Sketches of files that are kept; each has 128 kB at most."""
BEFORE = "earlier in the same run"
SIBLING = "could be a sibling: it is in that folder, too"


class Parents:
    """Finds the parents of the files of one plan.

    Args:
        workspace: The zoo.
        files: The files, run by run, the earliest first.
        drafts: What is known of each, by its path.
    """

    def __init__(
        self, workspace: Workspace, files: Sequence[PlannedFile], drafts: Mapping[Path, Draft]
    ) -> None:
        self._workspace, self._drafts = workspace, drafts
        self._finder = ParentFinder(workspace)
        self._sampled = lru_cache(SKETCHES)(self._sample)
        self._runs: dict[str, list[PlannedFile]] = defaultdict(list)
        self._known: dict[int, list[PlannedFile]] = defaultdict(list)
        for file in files:
            if file.status != "bad":
                self._runs[file.run].append(file)
                for content in {self._finder.content(digest) for digest in self._same(file)}:
                    self._known[content].append(file)

    def find(self, file: PlannedFile) -> PlannedParent | None:
        """The parent of a file, unless the checkpoint that it is here already has one, or was not
        imported.
        """
        if file.status == "bad" or (file.manifest and not self._is_open(file.manifest)):
            return None
        backbone = Backbone(plugin=file.backbone, architecture=file.architecture)
        shares = self._drafts[file.path].shares
        here = self._finder.nearest(
            backbone,
            self._sketch(file),
            {digest: share for digest, share in shares.items() if share >= LEAST},
            self._same(file),
            lambda digest: self._remark(file, digest) is not None,
        )
        before = self._before(file)
        if here and not (before and before[1] * ALIKE < here.apart):
            remark = self._remark(file, here.digest) or ""
            parent = PlannedParent(
                ref=here.ref,
                how=evidence(here.share, here.apart, remark),
                manifest=here.digest,
                share=here.share,
                apart=here.apart,
                remark=remark,
            )
            return self._of_run(file, parent, here.digest)
        if before is None:
            return None
        earlier, far = before
        return PlannedParent(
            ref=str(earlier.refs[0]),
            how=evidence(0.0, far, BEFORE),
            manifest=earlier.manifest,
            file=None if earlier.manifest else earlier.path,
            apart=far,
            remark=BEFORE,
        )

    def _of_run(self, file: PlannedFile, parent: PlannedParent, digest: Digest) -> PlannedParent:
        """The same as an earlier file of the run, if one has these weights: that has the name that
        the run gives it, and where its bytes are others it is another checkpoint.
        """
        alike = self._known.get(self._finder.content(digest), ())
        earlier = [each for each in alike if _is_before(each, file)]
        own = min(earlier, key=lambda each: each.manifest != digest, default=None)
        if own is None:
            return parent
        path = None if own.manifest else own.path
        return replace(parent, ref=str(own.refs[0]), manifest=own.manifest, file=path)

    def _is_open(self, digest: Digest) -> bool:
        """Whether a checkpoint here was imported, and nobody has said what it derives from."""
        manifest = self._manifest(digest)
        return manifest is not None and self._is_imported(digest) and not manifest.parents

    def _is_imported(self, digest: Digest) -> bool:
        manifest = self._manifest(digest)
        return manifest is not None and manifest.provenance.get("source") in IMPORTED

    def _manifest(self, digest: Digest) -> Manifest | None:
        try:
            return self._workspace.store.manifest(digest)
        except (ZooError, OSError):  # what is damaged is for verify to tell
            return None

    def _same(self, file: PlannedFile) -> frozenset[Digest]:
        own = frozenset([file.manifest]) if file.manifest else frozenset()
        return self._drafts[file.path].same | own

    def _remark(self, file: PlannedFile, digest: Digest) -> str | None:
        """What to know of a checkpoint here that may be the parent of a file; None if it cannot be:
        it has the weights of another file of the folder that is not an earlier epoch, or the file
        is here and it was imported no earlier.
        """
        alike = self._known.get(self._finder.content(digest), ())
        if not alike:
            return None if self._came_later(file, digest) else ""
        if any(_is_before(each, file) for each in alike):
            return BEFORE
        if any(each.run == file.run for each in alike):
            return None
        if file.manifest:  # it may have come with the file: the same import again adds nothing
            return None
        of_none = any(self._drafts[each.path].walked.moment is None for each in alike)
        return SIBLING if of_none else None

    def _came_later(self, file: PlannedFile, digest: Digest) -> bool:
        """Whether a checkpoint was imported here when the file was here already."""
        if file.manifest is None or not self._is_imported(digest):
            return False
        return since(self._workspace, digest) >= since(self._workspace, file.manifest)

    def _before(self, file: PlannedFile) -> tuple[PlannedFile, float] | None:
        """The epoch before in the same run, and how far the file is from it."""
        from zoo.store.nearness import NEAR, apart  # numpy

        weights = self._drafts[file.path].weights
        for each in reversed(self._runs[file.run]):
            if _is_before(each, file) and self._drafts[each.path].weights != weights:
                own, other = self._sketch(file), self._sketch(each)
                far = apart(own, other) if own and other else None
                return None if far is None or far >= NEAR else (each, far)
        return None

    def _sketch(self, file: PlannedFile) -> Sketch | None:
        return self._sampled(file.path, file.backbone, file.architecture)

    def _sample(self, path: Path, plugin: str, architecture: str) -> Sketch | None:
        backbone = Backbone(plugin=plugin, architecture=architecture)
        try:
            tensors, _ = read_tensors(self._drafts[path].walked.weights)
            return file_sketch(self._workspace, backbone, tensors)
        except (ZooError, OSError):  # the import says what is wrong with it
            return None


def fetched_parent(planned: PlannedParent, digest: Digest, manifest: Manifest) -> FoundParent:
    """The parent of a plan, once it is here as ``digest``."""
    return FoundParent(
        digest=digest,
        manifest=manifest,
        ref=planned.ref,
        share=planned.share or 0.0,
        apart=planned.apart or 0.0,
        remark=planned.remark,
    )


def _is_before(one: PlannedFile, other: PlannedFile) -> bool:
    """Whether it is an earlier moment of the same run, as far as both say when they were made."""
    if one.run != other.run:
        return False
    for first, second in ((one.epoch, other.epoch), (one.step, other.step)):
        if first is not None and second is not None and first != second:
            return first < second
    return False
