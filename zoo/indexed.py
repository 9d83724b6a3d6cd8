"""Indexed: what a store holds, put into the registry that follows it.

Whatever is wrong with one name or checkpoint costs no other one: it is left out, and told.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from zoo.domain.bounds import check_numbers
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.errors import DiskFull, Unavailable
from zoo.store import Store
from zoo.store.held import one_read
from zoo.store.tensor_keys import checkpoint_keys

if TYPE_CHECKING:
    from zoo.registry import Registry

__all__ = ["Index"]

LOG = logging.getLogger("zoo")
STOPPED = timedelta(hours=1)
"""Whoever announced a move so long ago does not make it any more."""
Move = tuple[Reference, RefEntry]


class Index:
    """A registry, and the store whose index it is."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self.store, self.registry = store, registry

    def fill(self) -> None:
        """Put all in that the store holds."""
        for ref, move in self.moves():
            self._add(ref, move)

    def moves(self) -> Iterator[Move]:
        """All moves of all names that can be read."""
        refs, unlisted = self.store.readable_refs()
        for folder, error in unlisted.items():
            LOG.warning("the names in %s are left out: %s", folder or "refs", error)
        for ref in refs:
            moves = one_read(self.store.history, ref)
            if isinstance(moves, Exception):
                LOG.warning("%s is left out: %s", ref, moves)
            else:
                yield from ((ref, move) for move in moves)

    def add_again(self, moves: list[Move]) -> None:
        """Put exactly ``moves`` in, and read all that is known of them once more."""
        here = {ref for ref, _ in moves}
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
        for ref, move in moves:
            if move.manifest not in fresh:
                self.registry.forget([move.manifest])
                fresh.add(move.manifest)
            self._add(ref, move)

    def follow(self, ref: Reference) -> bool:
        """Put the newest move of a name in; whether it was not."""
        newest = self._unfollowed(ref)
        return newest is not None and self.put(ref, newest)

    def _unfollowed(self, ref: Reference) -> RefEntry | None:
        """The newest move of a name, unless the index has it or it cannot be read."""
        newest = one_read(self.store.read_ref, ref)
        if not isinstance(newest, RefEntry):
            return None
        there = None if newest.deleted else newest.manifest
        return newest if self.registry.ref(ref) != there else None

    def put(self, ref: Reference, move: RefEntry) -> bool:
        """Put a move of a name in; whether it could be."""
        if not move.deleted and not self.registry.unknown([move.manifest]):
            self.registry.set_ref(ref, move)
            return True
        return self._add(ref, move)

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
                    self.registry.settle(note.number)

    def _tell_of_notes(self) -> None:
        noted = sorted({note.ref for note in self.registry.moving()})
        if lacked := [str(ref) for ref in noted if self._unfollowed(ref)]:
            LOG.warning(
                "the index cannot be written here and lacks the newest move of %s: zoo log "
                "tells it, and whoever may write the index has it from the next command on",
                ", ".join(lacked),
            )

    def add_checkpoint(self, digest: Digest) -> None:
        """Put a checkpoint in, under no name yet.

        Raises:
            MissingObject, Corrupt, InvalidManifest: It is not in the store, or cannot be indexed.
        """
        manifest = self.store.manifest(digest)
        check_numbers(manifest)
        self.registry.add_checkpoint(digest, manifest)
        if self.registry.without_keys([digest]):
            self.registry.keep_keys(digest, checkpoint_keys(self.store, manifest))

    def _add(self, ref: Reference, move: RefEntry) -> bool:
        """Put a move in; whether it could be."""
        if move.deleted:
            self.registry.remove_ref(ref, move)
            return True
        problem: object = one_read(self.store.was_pruned, move.manifest)
        if not problem:  # else a prune has taken it on purpose
            problem = one_read(self.add_checkpoint, move.manifest)
        if isinstance(problem, Exception):
            LOG.warning("%s (move %s) is left out: %s", ref, move.number, problem)
            # Else the name would seem to be where it was before; if this very move is in already,
            # it goes, too, so that it is missed, and put in again, once its files are mended.
            self.registry.remove_ref(ref, replace(move, number=move.number + 1))
            return False
        self.registry.set_ref(ref, move)
        return True
