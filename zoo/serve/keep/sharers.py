"""Sharers: which checkpoints may have tensors of another one, by the keys of these."""

from __future__ import annotations

import time
from contextlib import suppress

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.errors import ZooError
from zoo.serve.keep.recent import LruCache
from zoo.store.tensor_keys import checkpoint_keys
from zoo.workspace import Workspace

__all__ = ["Sharers"]

MOST, ROOM = 10_000, 100_000
"""So many are told of one checkpoint; so many are kept in memory."""
SECONDS = 60.0
"""So long is what was found told again: of weights that thousands derive from it takes a while."""


class Sharers:
    """The checkpoints of a zoo that share most with others."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._recent: LruCache[Digest, tuple[float, tuple[Digest, ...]]] = LruCache(
            ROOM, lambda entry: 1 + len(entry[1])
        )

    def of(self, digest: Digest, manifest: Manifest) -> tuple[Digest, ...]:
        """Those that may share tensors with a checkpoint, first the ones that share most; whoever
        may read them is another question.
        """
        now, known = time.monotonic(), self._recent.get(digest)
        if known and now - known[0] < SECONDS:
            return known[1]
        sharers: tuple[Digest, ...] = ()
        with suppress(ZooError):  # bytes of it are damaged
            keys = checkpoint_keys(self._workspace.store, manifest)
            holders = self._workspace.registry.holders_of(keys, MOST)
            sharers = tuple(holder.manifest for holder in holders)
        return self._recent.put(digest, (now, sharers))[1]
