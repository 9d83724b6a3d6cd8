"""Indexed: what a store holds, put into the registry that follows it.

Whatever is wrong with one name or checkpoint costs no other one: it is left out, and told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.domain.bounds import check_numbers
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.domain.result import Result
from zoo.domain.snapshot import Snapshot
from zoo.errors import Conflict, Corrupt, DiskFull, Forbidden, Unavailable, UnknownName, ZooError
from zoo.reflog import now
from zoo.store import Store
from zoo.store.listing import read_one
from zoo.store.manifests import checkpoint_of
from zoo.store.side_files import BENCHES, EVALUATIONS
from zoo.store.tensor_keys import checkpoint_keys

if TYPE_CHECKING:
    from zoo.registry import Registry

__all__ = ["Index", "Reindexed", "reindex"]

LOG = logging.getLogger("zoo")
STOPPED = timedelta(hours=1)
"""Whoever announced a move so long ago does not make it any more."""
LATER = (Corrupt, Forbidden)
"""What reading meets that need not stay so."""
LogEntry = tuple[Reference, RefEntry]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Reindexed(Result):
    """What is indexed now.

    Attributes:
        refs: Number of names.
        checkpoints: Number of checkpoints that they point at, or pointed at.
        replaced: Whether the index was made anew, so that what remotes have is not known again yet.
    """

    refs: int
    checkpoints: int
    replaced: bool


class Index:
    """A registry, and the store whose index it is."""

    def __init__(self, store: Store, opened: Callable[[], Registry]) -> None:
        self.store, self._opened = store, opened

    @property
    def registry(self) -> Registry:
        """The registry, opened when it is first asked: what it cannot answer ends nothing else."""
        return self._opened()

    def fill(self) -> None:
        """Put all in that the store holds."""
        for ref, entry in self.entries():
            self._add(ref, entry)

    def entries(self) -> Iterator[LogEntry]:
        """All entries of all names that can be read."""
        refs, unlisted = self.store.readable_refs()
        for folder, error in unlisted.items():
            LOG.warning("the names in %s are left out: %s", folder or "refs", error)
        for ref in refs:
            entries = read_one(self.store.history, ref)
            if isinstance(entries, Exception):
                LOG.warning("%s is left out: %s", ref, entries)
            else:
                yield from ((ref, entry) for entry in entries)

    def add_again(self, entries: list[LogEntry]) -> None:
        """Put exactly ``entries`` in, and read all that is known of them once more."""
        here = {ref for ref, _ in entries}
        for ref, digest, number in self.registry.refs():
            if ref not in here:  # somebody took its files away, or they cannot be read any more
                gone = RefEntry(
                    number=number + 1,
                    manifest=digest,
                    previous=digest,
                    at="",
                    by="",
                    why="",
                    deleted=True,
                )
                self.registry.remove_ref(ref, gone)
        self.registry.make_terms()
        fresh: set[Digest] = set()
        for ref, entry in entries:
            there = read_one(self.as_checkpoint, entry)
            if isinstance(there, RefEntry) and there.manifest not in fresh:
                self.registry.forget([there.manifest])
                fresh.add(there.manifest)
            self._add(ref, entry)

    def follow(self, ref: Reference) -> bool:
        """Put the newest entry of a name in; whether it was not."""
        newest = self._unfollowed(ref)
        return newest is not None and self.put(ref, newest)

    def _unfollowed(self, ref: Reference) -> RefEntry | None:
        """The newest entry of a name, unless the index has it or it cannot be read."""
        newest = read_one(self.store.read_ref, ref)
        if not isinstance(newest, RefEntry):
            return None
        indexed = self.registry.ref(ref)
        if indexed == (None if newest.deleted else newest.manifest):
            return None
        # Where it cannot be read it is told when it is put in.
        there = read_one(self.as_checkpoint, newest)
        return newest if isinstance(there, Exception) or indexed != _target(there) else None

    def as_checkpoint(self, entry: RefEntry) -> RefEntry | None:
        """An entry as the index has it, which knows checkpoints only: of a snapshot, that which it
        has; None if it has none.
        """
        if entry.deleted or not self.registry.unknown([entry.manifest]):
            return entry
        there = checkpoint_of(self.store, entry.manifest)
        return replace(entry, manifest=there) if there else None

    def put(self, ref: Reference, entry: RefEntry) -> bool:
        """Put an entry of a name in; whether it could be."""
        if not entry.deleted and not self.registry.unknown([entry.manifest]):
            self.registry.set_ref(ref, entry)
            return True
        return self._add(ref, entry)

    def follow_notes(self) -> None:
        """Put the moves in that were announced and made only: whoever made them was stopped. Where
        that cannot be done, they are told.
        """
        with suppress(DiskFull, Unavailable):  # what can be read is read; later will do
            if self.registry.obstacle:
                self._tell_of_notes()
                return
            for note in self.registry.moving():
                self.follow(note.ref)
                at = RefEntry.parse_time(note.at)
                if at is None or abs(datetime.now(UTC) - at) > STOPPED:
                    self.registry.drop_note(note.number)

    def read_again(self) -> None:
        """Read again what an earlier version indexed, and left out what is known now. What is not
        here, or is damaged, stays as it was indexed.
        """
        with suppress(DiskFull, Unavailable):  # the next command tries again
            if self.registry.obstacle or not (unread := self.registry.unread()):
                return
            answers = {digest: read_one(self.add_checkpoint, digest) for digest in unread}
            # What may not be read now, or is damaged, may be read by another, or be repaired.
            still = [digest for digest, answer in answers.items() if isinstance(answer, LATER)]
            # Last: where this process is stopped before, the next one begins again.
            self.registry.drop_unread(still)

    def _tell_of_notes(self) -> None:
        noted = sorted({note.ref for note in self.registry.moving()})
        if lacked := [str(ref) for ref in noted if self._unfollowed(ref)]:
            LOG.warning(
                "the index cannot be written here and lacks the newest entry of %s: zoo log "
                "tells it, and whoever may write the index has it from the next command on",
                ", ".join(lacked),
            )

    def catch_up(self) -> None:
        """Index what the store holds and the index lacks, where it can be written; it is told.

        Who calls this has done something else, which an index that fails does not undo.
        """
        try:
            if self.registry.obstacle:
                return
            lacked = [ref for ref in self.store.readable_refs()[0] if self.follow(ref)]
        except ZooError as error:
            LOG.warning("the index may lack what the store holds: %s", error)
            return
        if lacked:
            LOG.warning("the index lacked %s, and has them now", ", ".join(map(str, lacked)))

    def known_entries(self, remote: str | None = None) -> dict[Reference, int]:
        """The number of the newest entry of each name, here or at a remote, that is indexed.

        Of a remote without a short name, or if the index cannot be read, nothing is known; nor of
        what is no number there.
        """
        try:
            if remote:
                known = self.registry.remote_refs(remote)
                return {ref: entry.number for ref, entry in known.items()}
            return {ref: n for ref, _, n in self.registry.refs() if isinstance(n, int)}
        except ZooError:
            return {}

    @contextmanager
    def noted(self, ref: Reference) -> Iterator[None]:
        """Index the move of ``ref`` that is made within. A note of it goes before, so that whoever
        opens the index next knows if this process did not come to that.
        """
        note = self.registry.announce(ref, now())
        try:
            yield
        except (Conflict, UnknownName):  # nothing was moved
            self.registry.drop_note(note)
            raise
        try:
            self.follow(ref)
            self.registry.drop_note(note)
        except (ZooError, OSError) as error:
            LOG.warning(
                "%s has moved, but is not indexed yet (%s): the next command does that, "
                "as soon as it can",
                ref,
                error,
            )

    def add_checkpoint(self, digest: Digest) -> None:
        """Put a checkpoint, or that of a snapshot, in, under no name yet.

        Raises:
            MissingObject, Corrupt, InvalidManifest: It is not in the store, or cannot be indexed.
        """
        document = self.store.document(digest)
        if isinstance(document, Snapshot):
            if document.checkpoint:
                self.add_checkpoint(document.checkpoint)
            return
        manifest = document
        check_numbers(manifest)
        self.registry.add_checkpoint(digest, manifest)
        if self.registry.without_keys([digest]):
            self.registry.keep_keys(digest, checkpoint_keys(self.store, manifest))
        if evaluations := EVALUATIONS.of(self.store.disk, digest):
            self.registry.set_evaluations(digest, evaluations)
        if benches := BENCHES.of(self.store.disk, digest):
            self.registry.set_benches(digest, benches)

    def _add(self, ref: Reference, entry: RefEntry) -> bool:
        """Put an entry in; whether it could be."""
        if entry.deleted:
            self.registry.remove_ref(ref, entry)
            return True
        problem: object = read_one(self.store.was_pruned, entry.manifest)
        if not problem:  # else a prune has taken it on purpose
            problem = read_one(self.add_checkpoint, entry.manifest)
        if isinstance(problem, Exception):
            LOG.warning("%s (entry %s) is left out: %s", ref, entry.number, problem)
            # Else the name would seem to be where it was before; if this very entry is in already,
            # it goes, too, so that it is missed, and put in again, once its files are mended.
            self.registry.remove_ref(ref, replace(entry, number=entry.number + 1))
            return False
        there = entry if problem else self.as_checkpoint(entry)
        if there is None:  # files only
            self.registry.remove_ref(ref, entry)
        else:
            self.registry.set_ref(ref, there)
        return True


def _target(entry: RefEntry | None) -> Digest | None:
    return None if entry is None or entry.deleted else entry.manifest


def reindex(store: Store, path: Path | None, registry: Callable[[], Registry]) -> Reindexed:
    """Index all that a store holds again.

    What is derived from elsewhere (catalogs, what remotes have) stays, unless the index is damaged,
    or a newer program's: then it is made anew. A name that cannot be read, or whose checkpoint
    cannot, is left out, and told.

    Args:
        store: The store.
        path: The index's file; None: it is on a server.
        registry: Opens the index, and fills it if it is not there.
    """
    from zoo.registry import set_newer_aside

    before = _identity(path)
    if path and (aside := set_newer_aside(path, store.disk.alone)):
        LOG.warning(
            "the index of a newer zoo is made again from the store, as this zoo does it; the newer "
            "one is kept: %s",
            aside,
        )
    registry().renew_if_damaged()
    replaced = before != _identity(path)
    index = Index(store, registry)
    entries = list(index.entries())
    if not replaced:
        index.add_again(entries)
    return Reindexed(
        refs=len(registry().refs()),
        checkpoints=len(_checkpoints(index, {entry.manifest for _, entry in entries})),
        replaced=replaced,
    )


def _checkpoints(index: Index, digests: set[Digest]) -> set[Digest]:
    """The checkpoints that names point at, or pointed at, those of snapshots included. What cannot
    be read counts as one.
    """
    unknown = index.registry.unknown(digests)
    checkpoints: set[Digest] = digests - unknown
    for digest in unknown:
        there = read_one(partial(checkpoint_of, index.store), digest)
        if there is not None:
            checkpoints.add(there if isinstance(there, Digest) else digest)
    return checkpoints


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Which file the index is in, whatever its name; None if it is in none."""
    if path is None or not path.exists():
        return None
    status = path.stat()
    return status.st_dev, status.st_ino
