"""Chosen: the version of a repository that a page is about."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, PlainFile
from zoo.domain.snapshot import Snapshot
from zoo.errors import NoCheckpoint
from zoo.serve.hub.ask import Ask
from zoo.serve.keep.history import MAIN

__all__ = ["ShownVersion", "PickedVersion", "pick"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownVersion:
    """The version that is shown.

    Attributes:
        repo: The repository.
        revision: The branch, tag or commit; empty if nothing was committed yet.
        versions: The branches and tags that there are, the main one first.
        manifest: Digest of what the version is; empty if nothing was committed yet.
        checkpoint: Digest of its checkpoint; empty if it has files only.
    """

    repo: str
    revision: str
    versions: tuple[str, ...]
    manifest: str = ""
    checkpoint: str = ""

    @property
    def asked(self) -> str:
        """The revision, if it is another one than is shown where nobody asks for one."""
        usual = self.versions[0] if self.versions else ""
        return "" if self.revision == usual else self.revision


@dataclass(frozen=True, slots=True, kw_only=True)
class PickedVersion:
    """A version with what it is: its ``digest``, and the ``manifest`` and the ``snapshot``, as far
    as it has them.
    """

    chosen: ShownVersion
    digest: Digest | None = None
    manifest: Manifest | None = None
    snapshot: Snapshot | None = None

    @property
    def checkpoint(self) -> Digest | None:
        """The digest of its checkpoint."""
        if self.manifest is None:
            return None
        return self.snapshot.checkpoint if self.snapshot else self.digest

    def holder(self, name: str) -> tuple[Digest, int]:
        """The object that a file of it is in, at its beginning, and the bytes of the file.

        Raises:
            LookupError: It has no such file.
        """
        if self.snapshot:
            stored = self.snapshot.by_path[name].stored
        else:
            files = self.manifest.files if self.manifest else ()
            stored = {each.name: each for each in files}[name]
        if not isinstance(stored, PlainFile):
            raise LookupError(name)
        return stored.object, stored.size


def pick(ask: Ask) -> PickedVersion:
    """The version that ``?revision=`` names, else the main one, or the first where there is none.

    Raises:
        Refused: There is no such repository or revision, or its checkpoint was deleted.
    """
    there = {version.name: version for version in ask.hub.history.versions(ask.repo)}
    names = tuple(there)
    asked = ask.call.query.get("revision", "")
    if not names and not asked:
        if not ask.hub.exists(ask.repo):
            raise ask.no_repo()
        return PickedVersion(chosen=ShownVersion(repo=ask.repo, revision="", versions=()))
    revision = asked or (MAIN if MAIN in there else names[0])
    chosen = ShownVersion(repo=ask.repo, revision=revision, versions=names)
    return _picked(ask, chosen, ask.pointed(revision))


def _picked(ask: Ask, chosen: ShownVersion, digest: Digest) -> PickedVersion:
    ask.check_here(digest)
    document, manifest = ask.hub.files.document(digest), None
    with suppress(NoCheckpoint):
        manifest = ask.hub.files.manifest(digest)
    snapshot = document if isinstance(document, Snapshot) else None
    checkpoint = (snapshot.checkpoint if snapshot else digest) if manifest else None
    return PickedVersion(
        chosen=replace(chosen, manifest=str(digest), checkpoint=str(checkpoint or "")),
        digest=digest,
        manifest=manifest,
        snapshot=snapshot,
    )
