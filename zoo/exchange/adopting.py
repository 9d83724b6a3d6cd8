"""Adopt a folder that somebody has sent: a checkpoint is made of it, and no name is moved.

Who sent it may not see all that is here. So nothing here tells of it but its parent, which is
looked for among what they may see. Weights that are among that already have the parent that these
have there, or none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from zoo.domain.digest import Digest
from zoo.domain.import_options import AUTO
from zoo.domain.manifest import Manifest
from zoo.domain.progress import silent
from zoo.domain.reference import Reference
from zoo.exchange.check_weights import check_weights
from zoo.exchange.commit import keep_network
from zoo.exchange.import_candidates import ImportCandidate, candidates_of_folder
from zoo.exchange.importing import first_that_fits, stored
from zoo.exchange.origin import FromPlan
from zoo.lookup.identify import Candidate
from zoo.lookup.parent import FoundParent, ParentFinder
from zoo.workspace import Workspace

__all__ = ["adopt"]


def adopt(workspace: Workspace, folder: Path, ref: Reference, seen: Mapping[Digest, str]) -> Digest:
    """Store the weights in ``folder``, which is to be ``ref``, as a checkpoint without a name.

    ``seen`` are the checkpoints that may be told of, each by a name.

    Raises:
        InvalidOption: No file in it says what network it is.
        InvalidWeights: It holds no weights, or they are of another network.
        Unsupported, MissingPackage: It is a network that nothing here builds.
    """
    finder = ParentFinder(workspace)

    def find(manifest: Manifest, alike: Sequence[Candidate]) -> FoundParent | None:
        same = [one.manifest for one in alike if one.is_same]
        bases = {parent.manifest for each in same for parent in each.parents}
        # Without its parent here, what shares most with known weights is a sibling.
        can_be = seen.keys() & bases if same else seen.keys()
        nearest = finder.find(manifest, alike, can_be=can_be.__contains__)
        return replace(nearest, ref=seen[nearest.digest]) if nearest else None

    plan = FromPlan(find=find, seen=frozenset(seen))
    candidates = candidates_of_folder(workspace, folder, {"parent": AUTO}, plan)
    with workspace.store.upload(), workspace.scratch() as scratch:

        def keep(candidate: ImportCandidate) -> Digest:
            manifest, _ = stored(workspace, ref, check_weights(candidate), scratch, silent)
            keep_network(workspace, manifest)
            return workspace.keep(manifest)

        return first_that_fits(candidates, keep)
