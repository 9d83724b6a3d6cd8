"""Versions: the branches and tags of a repository, and what each commit moved."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.snapshot import Snapshot
from zoo.domain.words import shortened
from zoo.errors import MissingObject, ZooError
from zoo.lookup.compare import place
from zoo.lookup.units import Units, in_order, units_of
from zoo.serve.hub.ask import Ask, iso_time
from zoo.serve.keep.history import Commit
from zoo.serve.pages.chosen import ShownVersion, pick
from zoo.serve.pages.figures import Figure, score
from zoo.serve.pages.number import number_in
from zoo.store.files import group_of

__all__ = ["CommitChanges", "Version", "VersionsPage", "VersionRow", "look_versions"]

PAGE, NAMED, LETTERS = 30, 6, 2000
"""Commits on a page; units and files that are named of what moved; letters of a message."""
Place = tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitChanges:
    """What a commit moved against the one before.

    Attributes:
        first: Whether there is none before.
        gone: Whether it cannot be told, as one of both was deleted.
        units: Names of some units whose tensors changed, in order.
        changed: How many did, of ``total``.
        files: Names of some other files that changed, came or went.
        other: How many did.
        classes: Whether the class names changed.
    """

    first: bool = False
    gone: bool = False
    units: tuple[str, ...] = ()
    changed: int = 0
    total: int = 0
    files: tuple[str, ...] = ()
    other: int = 0
    classes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A commit.

    Attributes:
        id: Its id.
        checkpoint: The first digits by which commands name it; empty of what has files only.
        at: When.
        by: By whom.
        title: What moved the name there.
        message: What was sent with the files, beside the title.
        why: The note of who moved it.
        note: The note of the checkpoint.
        score: The figure by which the better of two is told.
        moved: What it moved.
        names: The branches and tags at it.
        before: The id of the commit before; empty where the two are not both checkpoints.
    """

    id: str
    checkpoint: str
    at: str
    by: str
    title: str
    message: str
    why: str
    note: str
    score: Figure | None
    moved: CommitChanges
    names: tuple[str, ...]
    before: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """A branch, or a tag that stays where it is, with its commit, and since when and by whom it is
    there; why it is to be used no more, if it is not.
    """

    name: str
    fixed: bool
    deprecated: str
    commit: str
    at: str
    by: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionsPage:
    """The versions of a repository, and the commits that lead to one of them.

    Attributes:
        chosen: Which.
        names: The branches and tags.
        commits: The commits, newest first, a page of them.
        total: How many there are.
        page: Which page, from 0; ``more`` if there is another one.
    """

    chosen: ShownVersion
    names: tuple[VersionRow, ...]
    commits: tuple[Version, ...]
    total: int
    page: int
    more: bool


def look_versions(ask: Ask) -> VersionsPage:
    """The versions of a repository. Raises as `pick`."""
    chosen = pick(ask).chosen
    page = number_in(ask.call, "p", least=0)
    commits = ask.commits(chosen.revision) if chosen.manifest else ()
    rows = _names(ask)
    begin = page * PAGE
    shown = commits[begin : begin + PAGE]
    before = [*shown[1:], *commits[begin + PAGE :][:1], None]
    changes = _Changes(ask)
    return VersionsPage(
        chosen=chosen,
        names=rows,
        commits=tuple(
            changes.version(
                commit, last, tuple(row.name for row in rows if row.commit == commit.id)
            )
            for commit, last in zip(shown, before, strict=False)
        ),
        total=len(commits),
        page=page,
        more=begin + PAGE < len(commits),
    )


def _names(ask: Ask) -> tuple[VersionRow, ...]:
    history, rows = ask.hub.history, []
    for version in history.versions(ask.repo):
        commit = history.commits(version, ask.patience)[0]
        rows.append(
            VersionRow(
                name=version.name,
                fixed=version.fixed,
                deprecated=version.entry.deprecated,
                commit=commit.id,
                at=iso_time(commit.at),
                by=version.entry.by,
                reference=str(version.ref),
            )
        )
    return tuple(rows)


class _Changes:
    """What commits move, by what their documents say of tensors and files."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._units: dict[str, Units] = {}

    def version(self, commit: Commit, before: Commit | None, names: tuple[str, ...]) -> Version:
        """A commit at which there are these ``names``, against the one ``before``."""
        manifest = self._checkpoint(commit)
        both = manifest and before and self._checkpoint(before)
        note = manifest.provenance.get("note", "") if manifest else ""
        return Version(
            id=commit.id,
            checkpoint=commit.manifest.short if manifest else "",
            at=iso_time(commit.at),
            by=commit.author,
            title=commit.title,
            message=shortened(commit.message, LETTERS),
            why=shortened(commit.note, LETTERS),
            note=shortened(note, LETTERS) if note != commit.note else "",
            score=score(manifest) if manifest else None,
            moved=self._moved(commit, before),
            names=names,
            before=before.id if before and both else "",
        )

    def _checkpoint(self, commit: Commit) -> Manifest | None:
        with suppress(ZooError):  # it was deleted
            return self._manifest(self._document(commit.manifest))
        return None

    def _moved(self, commit: Commit, before: Commit | None) -> CommitChanges:
        try:
            new = self._document(commit.manifest)
            old = self._document(before.manifest) if before else None
        except ZooError:
            return CommitChanges(gone=True)
        own, theirs = self._tensors(new), self._tensors(old)
        units = self._of(new)
        here = {name: units.unit_of(name) if units else group_of(name, 2)[0] for name in own}
        changed = {here[name] for name, at in own.items() if theirs.get(name) != at}
        files = _changed(_files(new), _files(old))
        return CommitChanges(
            first=before is None,
            units=tuple(in_order(changed, units or Units())[:NAMED]),
            changed=len(changed),
            total=len({*here.values()}),
            files=tuple(files[:NAMED]),
            other=len(files),
            classes=bool(old) and _classes(self._manifest(new)) != _classes(self._manifest(old)),
        )

    def _document(self, digest: Digest) -> Manifest | Snapshot:
        if not self._ask.hub.workspace.store.has_manifest(digest):
            raise MissingObject("checkpoint", str(digest), "this zoo")
        return self._ask.hub.files.document(digest)

    def _manifest(self, document: Manifest | Snapshot | None) -> Manifest | None:
        if isinstance(document, Snapshot):
            with suppress(ZooError):
                if document.checkpoint:
                    return self._ask.hub.files.manifest(document.checkpoint)
            return None
        return document

    def _tensors(self, document: Manifest | Snapshot | None) -> Mapping[str, Place]:
        return {tensor.name: place(tensor) for tensor in document.tensors} if document else {}

    def _of(self, document: Manifest | Snapshot) -> Units | None:
        manifest = self._manifest(document)
        if manifest is None:
            return None
        key = f"{manifest.backbone} {[tensor.name for tensor in manifest.tensors]}"
        if key not in self._units:
            self._units[key] = units_of(self._ask.hub.workspace, manifest)
        return self._units[key]


def _classes(manifest: Manifest | None) -> tuple[str, ...]:
    return manifest.classes if manifest else ()


def _files(document: Manifest | Snapshot | None) -> Mapping[str, Digest]:
    """The files that are no weights."""
    if isinstance(document, Snapshot):
        return {each.path: each.sha256 for each in document.files if not each.weights}
    return {each.name: each.sha256 for each in document.files} if document else {}


def _changed(new: Mapping[str, Digest], old: Mapping[str, Digest]) -> list[str]:
    return sorted(name for name in {**new, **old} if new.get(name) != old.get(name))
