"""Make the index of a zoo again: from its store, from the sources here, and by tracing."""

from __future__ import annotations

from contextlib import suppress

from zoo.domain.progress import Progress, silent
from zoo.errors import ZooError
from zoo.exchange.commit import keep_hierarchy
from zoo.exchange.indexing import index_local
from zoo.indexed import Reindexed
from zoo.workspace import Workspace

__all__ = ["reindex"]


def reindex(workspace: Workspace, *, progress: Progress = silent) -> Reindexed:
    """Index what the store holds, what sources that ask no other machine list, and the hierarchies
    of all checkpoints here. What is damaged is left out, and told.
    """
    done = workspace.reindex()
    index_local(workspace, progress=progress)
    for digest in sorted({digest for _, digest, _ in workspace.registry.refs()}):
        with suppress(ZooError):  # it is told already
            keep_hierarchy(workspace, workspace.store.manifest(digest).backbone)
    return done
