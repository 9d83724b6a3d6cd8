"""Holders: which repositories have a large file, or had it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.errors import ZooError
from zoo.serve.keep.history import History, Version
from zoo.serve.keep.recent import Recent
from zoo.store import Store

__all__ = ["Holders"]

LOG = logging.getLogger("zoo.serve")
ROOM = 4096


class Holders:
    """Where large files are, by their SHA-256. What is known may be old: it is looked at again
    before anybody relies on it.
    """

    def __init__(self, store: Store, history: History) -> None:
        self._store, self._history = store, history
        self._recent: Recent[tuple[Reference, int], Mapping[str, tuple[Digest, str]]] = Recent(ROOM)
        self._repos: dict[str, set[str]] = {}

    def look_at_all(self) -> None:
        """Look at all repositories, as far as they are described."""
        for ref in self._store.readable_refs()[0]:
            try:
                if version := self._history.version_of(ref):
                    self._files(version, 0)
            except (ZooError, OSError):
                continue  # whoever asks for it is told
            except Exception:
                LOG.exception("%s cannot be described", ref)

    def repos(self, sha256: str) -> set[str]:
        """The repositories that may have a file."""
        return self._repos.get(sha256, set()).copy()

    def places(self, repo: str, sha256: str, patience: float) -> Iterator[tuple[Digest, str]]:
        """Where a file is in a repository: checkpoints or snapshots, and the path there.

        Raises:
            Unavailable: As `History.commits`.
        """
        for version in self._history.versions(repo):
            if place := self._files(version, patience).get(sha256):
                yield place

    def _files(self, version: Version, patience: float) -> Mapping[str, tuple[Digest, str]]:
        key = (version.ref, version.entry.number)
        known = self._recent.get(key)
        if known is None:
            commits = self._history.commits(version, patience)
            # Of several that have it the newest: it is the last that a prune takes.
            known = {
                file.sha256: (commit.manifest, file.path)
                for commit in commits[::-1] for file in commit.view.files if file.sha256
            }  # fmt: skip
            self._recent.put(key, known)
            for sha256 in known:
                self._repos.setdefault(sha256, set()).add(version.ref.path)
        return known
