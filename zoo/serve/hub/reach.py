"""Reach: what is there for whom. An object or a manifest is there for somebody if a name that they
may read reaches it, its history included, or if they have sent it within a day. Knowing a digest is
no right to it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from math import inf
from threading import Lock
from typing import TYPE_CHECKING

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.domain.snapshot import Snapshot
from zoo.errors import ZooError
from zoo.serve.keep.recent import LruCache
from zoo.serve.who.may import Actor
from zoo.serve.who.reach_table import ReachTable, Witness
from zoo.store import Store
from zoo.store.refs import is_whole
from zoo.store.sent import keep_sent_object, sent_lately

if TYPE_CHECKING:
    from zoo.serve.hub.ask import Ask

__all__ = ["LOOK_SECONDS", "Reach", "sees_all"]

ROOM = 100_000
"""Witnesses that are kept in memory, by what they reach."""
PAUSE_SECONDS, SHARE = 2.0, 20
"""All names are looked at again after so long, or so many times what the look took."""
LOOK_SECONDS = 5.0
"""Who asks waits so long for that at most. A server that starts looks at all."""


class Reach:
    """What names reach, and whoever may read these. Names move beside this server, too: a name is
    looked at again when somebody asks for it, and all of them, not too often, when something is not
    known.
    """

    def __init__(self, store: Store, table: ReachTable) -> None:
        self._store, self._table = store, table
        self._looking, self._rested = Lock(), 0.0
        self._recent: LruCache[Digest, Witness] = LruCache(ROOM)
        self._damaged: LruCache[Reference, tuple[int, float]] = LruCache(ROOM)

    def there(self, ask: Ask, digests: Collection[Digest]) -> set[Digest]:
        """Those of some objects and manifests that are there for who asks. Whether they are in the
        store is another question.
        """
        if sees_all(ask.actor):
            return {*digests}
        reachable = self._remembered(ask, digests)
        left = {*digests} - reachable
        reachable |= self._reached(ask, left)
        left -= reachable
        if left and ask.actor.name:
            reachable |= sent_lately(self._store, _sender(ask.actor), left)
            left -= reachable
        if left and self._look_at_all():
            reachable |= self._reached(ask, left)
        return reachable

    def names(self, ask: Ask, digests: Collection[Digest]) -> dict[Digest, Reference]:
        """A name that has, or had, each of some manifests, of the names that who asks may read;
        nothing of those that no such name has had.
        """
        names = self._named(ask, digests)
        if len(names) < len({*digests}) and self._look_at_all():
            names = self._named(ask, digests)
        return names

    def _named(self, ask: Ask, digests: Collection[Digest]) -> dict[Digest, Reference]:
        repos = [repo for repo in self._table.repos() if ask.may("read", repo)]
        witnesses = self._table.reached(digests, repos).items() if digests else ()
        return {each: one.ref for one, these in witnesses if self._stands(one) for each in these}

    def keep_sent(self, ask: Ask, digest: Digest) -> None:
        """Note that who asks has sent an object or a manifest, which is here."""
        keep_sent_object(self._store, _sender(ask.actor), digest)

    def _remembered(self, ask: Ask, digests: Collection[Digest]) -> set[Digest]:
        """Those whose last witness is for who asks, too, and has not moved: a pull asks for each
        object by itself.
        """
        seen: dict[Witness, set[Digest]] = {}
        for digest in digests:
            if last := self._recent.get(digest):
                seen.setdefault(last, set()).add(digest)
        reachable: set[Digest] = set()
        for last, these in seen.items():
            if ask.may("read", last.ref.path) and self._stands(last):
                reachable |= these
        return reachable

    def _stands(self, witness: Witness) -> bool:
        """Whether what a witness has is here, and its name has not moved since."""
        with suppress(ZooError, OSError):  # what cannot be read shows nothing
            here = self._store.has_manifest(witness.document)
            return here and self._store.newest_number(witness.ref) == witness.number
        return False

    def _reached(self, ask: Ask, digests: Collection[Digest]) -> set[Digest]:
        if not digests:
            return set()
        repos = [repo for repo in self._table.repos() if ask.may("read", repo)]
        reachable: set[Digest] = set()
        # What is known may be old: each name that is relied on is looked at, and then the next.
        left, witnesses = {*digests}, dict[Witness, set[Digest]]()
        while left and (witnesses := self._table.reached(left, repos)):
            for witness, these in witnesses.items():
                if not self._stands(witness):
                    self._look_again(witness)
                    continue
                reachable |= these
                for item in these:
                    self._recent.put(item, witness)
            left = {item for these in witnesses.values() for item in these} - reachable
        return reachable

    def _look_again(self, witness: Witness) -> None:
        """Have the table say no more what it said of a witness that does not stand."""
        number = 0
        try:
            if not self._store.has_manifest(witness.document):
                self._table.forget(witness.document)
                return
            number = self._store.newest_number(witness.ref)
            self._damaged.put(witness.ref, (0, 0.0))
            self.follow(witness.ref)
        except (ZooError, OSError):
            self._table.follow(witness.ref, number, [], {}, whole=False)

    def follow(self, ref: Reference) -> None:
        """Look at a name, if it has moved."""
        number, known = self._store.newest_number(ref), self._table.followed_to(ref)
        if number == known:
            return
        last, until = self._damaged.get(ref) or (0, 0.0)
        if known is None and last == number and time.monotonic() < until:
            return
        entries = self._store.history_since_damage(ref)
        whole = not number or is_whole(entries)
        if not whole:  # it may be mended, but not at once
            self._damaged.put(ref, (number, time.monotonic() + PAUSE_SECONDS))
        documents = _documents(entries)
        reached = {each: [*self._items(each)] for each in self._table.unknown(documents)}
        items = {each: these for each, these in reached.items() if these}
        self._table.follow(ref, number, documents, items, whole=whole)

    def _items(self, digest: Digest) -> Iterator[Digest]:
        """What a manifest or a snapshot reaches; nothing if it is not here, or cannot be read."""
        with suppress(ZooError):
            document = self._store.document(digest)
            yield digest
            for item, _ in document.objects():
                yield item
            if isinstance(document, Snapshot) and document.checkpoint:
                yield from self._items(document.checkpoint)

    def _look_at_all(self) -> bool:
        """Look at all names that have moved; whether it was time for that."""
        if not self._looking.acquire(blocking=False):
            return False
        try:
            if time.monotonic() < self._rested:
                return False
            began = time.monotonic()
            self.follow_all(self._store.readable_refs()[0], within=LOOK_SECONDS)
            took = time.monotonic() - began
            self._rested = time.monotonic() + max(PAUSE_SECONDS, SHARE * took)
        finally:
            self._looking.release()
        return True

    def follow_all(self, refs: Iterable[Reference], *, within: float = inf) -> None:
        """Look at those names that have moved, as far as one comes ``within`` so many seconds."""
        known, end = self._table.followed(), time.monotonic() + within
        for ref in refs:
            if time.monotonic() > end:
                return
            with suppress(ZooError, OSError):  # whoever asks for it is told
                if self._store.newest_number(ref) != known.get(ref, 0):
                    self.follow(ref)


def _documents(entries: Collection[RefEntry]) -> list[Digest]:
    """What a name has, or had since it was there; none if it was deleted."""
    manifests: dict[Digest, None] = {}
    before: dict[Digest, None] = {}
    for entry in entries:
        if entry.deleted:
            manifests, before = {}, manifests or before
            continue
        if not manifests and entry.restores:
            manifests = before
        manifests[entry.manifest] = None
    return [*manifests]


def sees_all(actor: Actor) -> bool:
    """Whether somebody may see whatever is in the store: an admin, with a token for all."""
    return actor.admin and not actor.only


def _sender(actor: Actor) -> str:
    """What is sent with a token for some names is there for such tokens alone."""
    return f"{actor.name}/{' '.join(sorted(actor.only))}"
