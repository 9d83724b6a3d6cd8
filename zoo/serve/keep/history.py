"""History: the log of a name as commits of Git.

A branch begins with the commits of the one that it was made of. Each entry that points the name at
other files is one; protecting, deleting and restoring a name change none, nor does a checkpoint
that is found among files that were sent. The ids are those that Git would give, so that they stay
what they are whoever works them out, and a clone by Git can have the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.domain.stored import StoredFile
from zoo.errors import InvalidReference, ZooError
from zoo.serve.keep.git import commit_id, tree_ids
from zoo.serve.keep.recent import LruCache
from zoo.serve.keep.view import View
from zoo.serve.keep.views import Views
from zoo.store import Store
from zoo.store.capabilities import folders
from zoo.store.refs import entry_name, is_whole

__all__ = [
    "BRANCHED",
    "DUPLICATE",
    "ID",
    "MAIN",
    "SENT",
    "Commit",
    "History",
    "Version",
    "branched",
]

MAIN = "main"
"""The branch that has the default tag of a name."""
SENT = "commit"
"""Why a name moved to files that a client of the hub has sent."""
DUPLICATE = "duplicate"
"""Why a name is made that has what one of another repository had."""
BRANCHED = re.compile(r"branch of ([\w.-]+) at (\d{1,8})", re.ASCII)
"""Why a branch is made that begins with a commit: that of an entry of another one."""
DEEPEST = 64
"""Branches of branches: a log is somebody's text, and may lead in a circle."""
ID = re.compile("[0-9a-f]{40}")
"""What the id of a commit looks like."""
ROOM, ROOM_COMMITS = 4096, 50_000
LETTERS = 500
"""A commit takes as much memory as so many letters of a message."""
EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit: the checkpoint or snapshot ``manifest`` under a name; Git calls its files ``tree``.

    It is the entry ``number`` of ``ref``, from which branches may have begun. The ``note`` of who
    moved the name there is beside it: older zoos left it out of the text that the id is made of.
    """

    id: str
    manifest: Digest
    tree: str
    at: datetime
    author: str
    title: str
    message: str = ""
    note: str = ""
    ref: Reference
    number: int

    @property
    def text(self) -> str:
        """The title and, after an empty line, what else is said."""
        return f"{self.title}\n\n{self.message}" if self.message else self.title


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A tag of a name that is there, as a branch, or as a tag of Git if it is ``fixed``."""

    ref: Reference
    entry: RefEntry

    @property
    def name(self) -> str:
        """What clients call it."""
        return MAIN if self.ref.tag == DEFAULT_TAG else self.ref.tag

    @property
    def fixed(self) -> bool:
        """Whether it stays where it is: it is protected."""
        return self.entry.protected and self.ref.tag != DEFAULT_TAG


class _Line(NamedTuple):
    """The commits that a name has had up to an entry, newest first; and whether all of the logs
    could be read that they are from.
    """

    number: int = 0
    manifest: Digest | None = None
    deleted: bool = False
    commits: tuple[Commit, ...] = ()
    whole: bool = True


NONE = _Line()


class History:
    """The names of a store as repositories with branches and commits."""

    def __init__(self, store: Store, views: Views) -> None:
        self._store = store
        self._views = views
        self._recent: LruCache[Reference, _Line] = LruCache(
            ROOM_COMMITS,
            lambda line: (
                1 + sum(1 + len(each.message + each.note) // LETTERS for each in line.commits)
            ),
        )
        self._folders: LruCache[str, Mapping[str, str]] = LruCache(ROOM_COMMITS, len)
        self._found: LruCache[tuple[str, str], Reference] = LruCache(ROOM)
        self._entries: LruCache[Reference, tuple[StoredFile, RefEntry]] = LruCache(ROOM)
        self._firsts: LruCache[Reference, tuple[int, int]] = LruCache(ROOM_COMMITS)
        self._began: LruCache[tuple[Reference, int], datetime] = LruCache(ROOM_COMMITS)

    def repos(self) -> list[str]:
        """The names that are there, or were, without their tags. Those in folders that cannot be
        read are left out.
        """
        repos: list[str] = []
        for namespace in folders(self._store.backend, "refs/"):
            with suppress(ZooError):
                names = folders(self._store.backend, f"refs/{namespace}/")
                repos += [f"{namespace}/{name}" for name in names]
        return repos

    def versions(self, repo: str) -> list[Version]:
        """The tags of a name that are there, the default one first."""
        versions = self.all_versions(repo)
        # A tag that is called as the branch of the default one has no name for clients.
        if any(each.ref.tag == DEFAULT_TAG for each in versions):
            versions = [each for each in versions if each.ref.tag != MAIN]
        return sorted(versions, key=lambda each: (each.name != MAIN, each.name))

    def all_versions(self, repo: str) -> list[Version]:
        """The tags of a name that are there, those included that clients have no name for."""
        namespace, name = repo.split("/")
        versions = []
        for tag in folders(self._store.backend, f"refs/{repo}/"):
            try:
                version = self.version_of(Reference(namespace, name, tag))
            except InvalidReference:
                continue
            if version:
                versions.append(version)
        return versions

    def emptied(self, repo: str) -> str:
        """When a tag of a name was deleted last; empty if none was."""
        (namespace, name), latest = repo.split("/"), ""
        for tag in folders(self._store.backend, f"refs/{repo}/"):
            with suppress(InvalidReference):
                entry = self._store.read_ref(Reference(namespace, name, tag))
                latest = max(latest, entry.at if entry and entry.deleted else "")
        return latest

    def version(self, repo: str, revision: str) -> Version | None:
        """The tag that a branch or tag of Git is; None if there is none of that name."""
        namespace, name = repo.split("/")
        tags = (DEFAULT_TAG, MAIN) if revision == MAIN else (revision,)
        for tag in tags:
            try:
                if version := self.version_of(Reference(namespace, name, tag)):
                    return version
            except InvalidReference:
                return None
        return None

    def version_of(self, ref: Reference) -> Version | None:
        """The version that a name is; None if it is not there."""
        entry = self._newest(ref)
        return None if entry is None or entry.deleted else Version(ref=ref, entry=entry)

    def _newest(self, ref: Reference) -> RefEntry | None:
        """The newest entry of a name; None if there is none. One that is known is not read again
        while its file is the same, and no other one follows.
        """
        if known := self._known_newest(ref):
            return known
        store = self._store
        newest = store.read_ref(ref)
        stored = store.backend.stat(entry_name(ref, newest.number)) if newest else None
        # Read once more: in between another one may have taken its place.
        if newest and stored and store.read_ref(ref) == newest:
            self._entries.put(ref, (stored, newest))
        return newest

    def _known_newest(self, ref: Reference) -> RefEntry | None:
        """The newest entry of a name, if it is the one that was read last."""
        if known := self._entries.get(ref):
            file, entry = known
            after = entry_name(ref, entry.number + 1)
            there = self._store.local.present([file.name, after])
            if there.get(file.name) == file and after not in there:
                return entry
        return None

    def commits(self, version: Version, patience: float) -> tuple[Commit, ...]:
        """The commits of a version, newest first.

        Raises:
            Unavailable: They cannot be told yet; ``patience`` is how many seconds may be waited.
        """
        ref, number = version.ref, version.entry.number
        line = self._recent.get(ref) or NONE
        if line.number == number:
            return line.commits
        # Of a long log, what is new alone is read.
        entries = self._store.history_since_damage(ref, after=line.number)
        if line.number > number or (entries and not _follows(entries[0], line)):
            line, entries = NONE, self._store.history_since_damage(ref)
        line = self._extended(ref, line, _up_to(number, entries), patience)
        # What is damaged may be mended.
        return (self._recent.put(ref, line) if line.whole else line).commits

    def began(self, version: Version) -> datetime:
        """When the oldest commit of a version was made, which takes no look at its files."""
        key = version.ref, version.entry.number
        return self._began.get(key) or self._began.put(key, self._begun(*key) or EPOCH)

    def first_number(self, ref: Reference) -> int:
        """The number of the entry by which a name was made last: those before are of another one,
        which was deleted or moved away. What an entry that is damaged has done is not known: those
        before it are not shown, either.
        """
        newest = self._store.newest_number(ref)
        known = self._firsts.get(ref)
        if known and known[0] == newest:
            return known[1]
        entries = self._store.history_since_damage(ref)
        first, deleted = entries[0].number if entries else newest, False
        for entry in entries:
            if deleted and not entry.restores:
                first = entry.number
            deleted = entry.deleted
        if is_whole(entries):  # what is damaged may be mended
            self._firsts.put(ref, (newest, first))
        return first

    def _begun(self, ref: Reference, number: int, deep: int = 0) -> datetime | None:
        first, deleted = None, False
        for entry in _up_to(number, self._store.history_since_damage(ref)):
            if (begun := BRANCHED.fullmatch(entry.why)) and deep < DEEPEST:
                first = self._begun(replace(ref, tag=begun[1]), int(begun[2]), deep + 1)
            elif deleted and not entry.restores:
                first = None  # another one that is called so
            first, deleted = first or entry.when or EPOCH, entry.deleted
        return first

    def _extended(
        self,
        ref: Reference,
        line: _Line,
        entries: tuple[RefEntry, ...],
        patience: float,
        deep: int = 0,
    ) -> _Line:
        """The line with further entries of the name."""
        commits, deleted = [*line.commits[::-1]], line.deleted
        whole = line.whole if line.number else is_whole(entries)
        for entry in entries:
            if (begun := BRANCHED.fullmatch(entry.why)) and deep < DEEPEST:
                origin = self._from(replace(ref, tag=begun[1]), int(begun[2]), patience, deep + 1)
                commits, whole = [*origin.commits[::-1]], whole and origin.whole
            elif deleted and not entry.restores:
                commits = []  # another one that is called so: nobody is shown what was deleted
            deleted = entry.deleted
            if commits and entry.manifest == commits[-1].manifest:
                continue
            view, last = self._views.of(entry.manifest, patience), commits[-1] if commits else None
            tree = tree_ids((file.path, file.git) for file in view.files)[""]
            if last and view.sent and tree == last.tree:
                commits[-1] = replace(last, manifest=entry.manifest, ref=ref, number=entry.number)
            else:
                commits.append(_commit(ref, entry, view.sent, tree, last.id if last else None))
        if not entries:
            return line._replace(whole=whole)
        newest = entries[-1]
        return _Line(newest.number, newest.manifest, deleted, tuple(commits[::-1]), whole)

    def _from(self, ref: Reference, number: int, patience: float, deep: int) -> _Line:
        entries = _up_to(number, self._store.history_since_damage(ref))
        return self._extended(ref, NONE, entries, patience, deep)

    def view(self, commit: Commit, patience: float) -> View:
        """The files of a commit. Raises as `commits`."""
        return self._views.of(commit.manifest, patience)

    def folders(self, commit: Commit, patience: float) -> Mapping[str, str]:
        """The folders of a commit, with the ids that Git gives to them. Raises as `commits`."""
        if known := self._folders.get(commit.tree):
            return known
        files = self.view(commit, patience).files
        return self._folders.put(commit.tree, tree_ids((file.path, file.git) for file in files))

    def commit(self, repo: str, revision: str, patience: float) -> Commit | None:
        """What a branch, a tag of Git or an id of a commit is; None if there is no such thing.

        Raises:
            Unavailable: As `commits`.
        """
        if not ID.fullmatch(revision):
            version = self.version(repo, revision)
            return self.commits(version, patience)[0] if version else None
        for version in self.likely(repo, revision):
            for commit in self.commits(version, patience):
                if commit.id == revision:
                    self._found.put((repo, revision), version.ref)
                    return commit
        return None

    def known_commit(self, repo: str, id: str) -> Commit | None:  # noqa: A002
        """What an id of a commit is, if it is in memory and nothing is to be read for it."""
        ref = self._found.get((repo, id))
        entry, line = (self._known_newest(ref), self._recent.get(ref)) if ref else (None, None)
        if entry is None or entry.deleted or line is None or line.number != entry.number:
            return None
        return next((commit for commit in line.commits if commit.id == id), None)

    def ids(self, repo: str, digits: str, patience: float) -> set[str]:
        """The ids of its commits that begin with some digits. Raises as `commits`."""
        lines = [self.commits(version, patience) for version in self.versions(repo)]
        return {each.id for line in lines for each in line if each.id.startswith(digits)}

    def likely(self, repo: str, revision: str) -> Iterator[Version]:
        """The versions that may have a commit, first the one of that name, or that had it last."""
        known = self._found.get((repo, revision))
        first = self.version_of(known) if known else self.version(repo, revision)
        if first:
            yield first
        yield from (each for each in self.versions(repo) if each != first)


def _up_to(number: int, entries: tuple[RefEntry, ...]) -> tuple[RefEntry, ...]:
    return tuple(entry for entry in entries if entry.number <= number)


def _follows(entry: RefEntry, line: _Line) -> bool:
    return entry.number == line.number + 1 and entry.previous == line.manifest


def branched(commit: Commit) -> str:
    """Why a name is made that begins with a commit."""
    return f"branch of {commit.ref.tag} at {commit.number}"


def _commit(ref: Reference, entry: RefEntry, sent: bool, tree: str, parent: str | None) -> Commit:
    """An entry as a commit; what was sent has its message as the note."""
    at, title, message = entry.when or EPOCH, " ".join(entry.why.split()), ""
    note = entry.note
    if sent and note:
        title, _, message = note.partition("\n\n")
        note = ""
    commit = Commit(
        id="",
        manifest=entry.manifest,
        tree=tree,
        at=at,
        author=entry.by,
        title=title,
        message=message,
        note=note,
        ref=ref,
        number=entry.number,
    )
    return replace(commit, id=commit_id(tree, parent, entry.by, at, commit.text))
