"""Edited: the checkpoints of the same weights that one was before more was stated of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from zoo.domain.digest import Digest
from zoo.domain.manifest import EDITED
from zoo.errors import InvalidReference, ZooError
from zoo.workspace import Workspace

__all__ = ["before_edits", "children"]


def before_edits(workspace: Workspace, digest: Digest) -> Iterator[Digest]:
    """What a checkpoint was edited from, the newest first, as far as that is here. A manifest may
    come from anybody: only what has the same weights to the bit counts.
    """
    seen = {digest}
    with suppress(ZooError, OSError):
        manifest = workspace.store.manifest(digest)
        while text := manifest.provenance.get(EDITED):
            with suppress(InvalidReference):
                digest = Digest.parse(text)
            before = workspace.store.manifest(digest)
            if digest in seen or before.weights != manifest.weights:
                return
            seen.add(digest)
            yield digest
            manifest = before


def children(workspace: Workspace, digest: Digest) -> list[Digest]:
    """What derives directly from a checkpoint, or from what it was edited from."""
    same = [*reversed([*before_edits(workspace, digest)]), digest]
    return [child for each in same for child in workspace.registry.children(each)]
