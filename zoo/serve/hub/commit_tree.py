"""Commit tree: the files of a commit, as the next one begins with them."""

from __future__ import annotations

from dataclasses import replace

from zoo.domain.digest import Digest
from zoo.domain.network import CONFIG
from zoo.domain.snapshot import Snapshot, SnapshotFile
from zoo.errors import MissingObject, NoCheckpoint
from zoo.serve.hub.ask import Ask
from zoo.serve.hub.operations import Tree
from zoo.serve.keep.history import Commit
from zoo.serve.keep.view import CARD, ViewedFile
from zoo.store.manifests import checkpoint_of
from zoo.store.proof import files_of

__all__ = ["kept_checkpoint", "tree_of"]


def tree_of(ask: Ask, commit: Commit | None) -> Tree:
    """The files of a commit. Those that were made here for a checkpoint are kept as if somebody had
    sent them.
    """
    if commit is None:
        return {}
    ask.check_here(commit.manifest)
    document = ask.hub.files.document(commit.manifest)
    if isinstance(document, Snapshot):
        return dict(document.by_path)
    return {file.path: _as_sent(ask, commit.manifest, file) for file in ask.view(commit).files}


def _as_sent(ask: Ask, manifest: Digest, file: ViewedFile) -> SnapshotFile:
    if file.text is not None:
        return replace(ask.hub.blobs.add(file.text.encode(), ask), path=file.path)
    stored = ask.hub.files.file(manifest, file.path)
    return SnapshotFile.of(stored, git=None if file.sha256 else file.git)


def kept_checkpoint(ask: Ask, commit: Commit | None, before: Tree, after: Tree) -> Digest | None:
    """The checkpoint that a commit has, if none of its files are others in ``after``: who edits a
    README keeps the network.
    """
    if commit is None:
        return None
    try:
        digest = checkpoint_of(ask.hub.workspace.store, commit.manifest)
        manifest = ask.hub.files.manifest(commit.manifest)
    except (MissingObject, NoCheckpoint):
        return None
    names = {file.name for file in files_of(manifest)} - {CARD} | {CONFIG}
    same = all(
        name in after and after[name].sha256 == before[name].sha256
        for name in names & before.keys()
    )
    return digest if same else None
