"""Make the index of a zoo again: from its store, from the sources here, and by tracing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from zoo.backbones.describe import describe
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress, silent
from zoo.errors import ZooError
from zoo.exchange.indexing import index_local
from zoo.workspace import Workspace

__all__ = ["keep_hierarchy", "reindex"]


def keep_hierarchy(workspace: Workspace, digest: Digest) -> None:
    """Trace the architecture of a checkpoint, once: comparing needs no torch from then on."""
    with suppress(ZooError):  # what cannot be traced is compared by the names of its tensors
        backbone = workspace.store.manifest(digest).backbone
        describe(workspace.registry, backbone.plugin, backbone.architecture)


def reindex(workspace: Workspace, *, progress: Progress = silent) -> dict[str, Any]:
    """Index what the store holds, what sources that ask no other machine list, and the hierarchies
    of all checkpoints here. The answer is that of `zoo.workspace.Workspace.reindex`: what is
    damaged is left out, and told.
    """
    done = workspace.reindex()
    index_local(workspace, progress=progress)
    for digest in sorted({digest for _, digest, _ in workspace.registry.refs()}):
        keep_hierarchy(workspace, digest)
    return done
