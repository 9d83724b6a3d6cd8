"""Holders: which repositories have a large file, or had it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.errors import ZooError
from zoo.serve.keep.history import Commit, History, Version
from zoo.serve.keep.recent import LruCache
from zoo.store import Store

__all__ = ["Holders"]

LOG = logging.getLogger("zoo.serve")
ROOM = 200_000
"""Large files that are kept in memory, by the names that have them."""


class _FileHolders(NamedTuple):
    """Where the large files are that a name has had up to a commit."""

    commit: Commit
    files: Mapping[str, tuple[Digest, str]]


class Holders:
    """Where large files are, by their SHA-256. What is known may be old: it is looked at again
    before anybody relies on it.
    """

    def __init__(self, store: Store, history: History) -> None:
        self._store, self._history = store, history
        self._recent: LruCache[Reference, _FileHolders] = LruCache(
            ROOM, lambda held: 1 + len(held.files)
        )
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
        known = self._recent.get(version.ref)
        commits = self._history.commits(version, patience)
        if known and known.commit == commits[0]:
            return known.files
        # What is below a commit stays; its own files may have got their checkpoint since.
        at = (
            {commit.id: at for at, commit in enumerate(commits)}.get(known.commit.id)
            if known
            else None
        )
        files = {**known.files} if known and at is not None else {}
        # Of several that have it the newest: it is the last that a prune takes.
        for commit in commits[: None if at is None else at + 1][::-1]:
            for file in self._history.view(commit, patience).files:
                if file.sha256:
                    files[file.sha256] = commit.manifest, file.path
                    self._repos.setdefault(file.sha256, set()).add(version.ref.path)
        self._recent.put(version.ref, _FileHolders(commits[0], files))
        return files
