"""Views: those of a zoo's checkpoints, made where they are not kept yet."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import TimeoutError as TooLate

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.network import CONFIG
from zoo.domain.snapshot import Snapshot
from zoo.errors import MissingObject, Unavailable, ZooError
from zoo.serve.keep.describe import ConfigTexts
from zoo.serve.keep.recent import LruCache
from zoo.serve.keep.view import View, checkpoint_view, keep_view, read_view, snapshot_view
from zoo.serve.keep.worker import Worker
from zoo.store import Store

__all__ = ["NotYet", "Views"]

LOG = logging.getLogger("zoo.serve")
ROOM = 50_000
"""Files of views that are kept in memory; each takes some hundred bytes."""


class NotYet(Unavailable):
    """A view that is being made. Who asks is not told when to ask again: the hub's client says of
    any answer with ``Retry-After`` that it was "rate limited", and else that it tries again.
    """


class Views:
    """The views of the checkpoints and snapshots in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recent: LruCache[Digest, View] = LruCache(ROOM, lambda view: 1 + len(view.files))
        self._worker = Worker(store.root)

    def close(self) -> None:
        """Stop what is being made."""
        self._worker.close()

    def of(self, digest: Digest, patience: float) -> View:
        """The view of a checkpoint or a snapshot; without files, if it is gone and none was kept.

        Raises:
            NotYet: It is not made yet, and ``patience``, in seconds, has an end.
        """
        if view := self._recent.get(digest) or read_view(self._store, digest):
            return self._recent.put(digest, view)
        try:
            document = self._store.document(digest)
        except MissingObject:
            return View()
        if isinstance(document, Snapshot):
            view = self._kept(digest, snapshot_view(self._store, document))
            return self._recent.put(digest, view)
        described = ConfigTexts()
        if not _explained(document):
            try:
                described = self._worker.ask(digest).result(patience)
            except TooLate:
                raise NotYet(f"checkpoint {digest.short}", "is being described") from None
        return self._recent.put(digest, self._build_view(digest, document, described))

    def known(self, digest: Digest) -> View | None:
        """The view of a checkpoint or a snapshot, if it is in memory."""
        return self._recent.get(digest)

    def knows(self, digest: Digest) -> bool:
        """Whether the view of a checkpoint or a snapshot is told without building its network."""
        if self._recent.get(digest) or read_view(self._store, digest):
            return True
        document = self._store.document(digest)
        return isinstance(document, Snapshot) or _explained(document)

    def _build_view(self, digest: Digest, manifest: Manifest, described: ConfigTexts) -> View:
        view = checkpoint_view(self._store, digest, manifest, described.texts, described.problem)
        if described.problem:
            LOG.warning("%s has no config.json: %s", digest.short, described.problem)
        return view if described.passing else self._kept(digest, view)

    def _kept(self, digest: Digest, view: View) -> View:
        """The same view, kept if that can be: its commits have their ids when it is pruned, too."""
        try:
            return keep_view(self._store, digest, view)
        except ZooError as error:
            LOG.warning("the view of %s is not kept: %s", digest.short, error)
        return view

    def prepare(self, digests: Iterable[Digest]) -> None:
        """Have the views made that are not kept yet, when nobody waits for others."""
        for digest in digests:
            try:
                if self._recent.get(digest) or read_view(self._store, digest):
                    continue
                manifest = self._store.document(digest)
                if isinstance(manifest, Manifest) and not _explained(manifest):
                    described = self._worker.ask(digest, waits=False).result()
                    if self._worker.closed:
                        return
                    self._recent.put(digest, self._build_view(digest, manifest, described))
            except MissingObject:
                continue  # a prune has taken it
            except ZooError as error:
                LOG.warning("checkpoint %s: %s", digest.short, error)
            except Exception:
                LOG.exception("checkpoint %s cannot be described", digest.short)


def _explained(manifest: Manifest) -> bool:
    return any(file.name == CONFIG for file in manifest.files)
