"""Room: how many bytes the names of a namespace lead to."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.errors import InvalidReference, ZooError
from zoo.lookup.reported import REPORTED
from zoo.store import Store
from zoo.store.capabilities import folders
from zoo.store.signatures import kept_at

__all__ = ["NamespaceUsage", "UsageCounter"]

SENT_SECONDS = 86400.0
ANEW_SECONDS = 10.0
"""So seldom all is counted: who is refused asks again."""
SIGNED = ""
"""Whose lock that of the signatures is: no namespace is called so."""


class NamespaceUsage(NamedTuple):
    """Bytes of some objects that are ``new`` to a namespace, and its ``total`` with them."""

    new: int
    total: int


@dataclass
class _Known:
    """What the names of a namespace led to, up to an entry of each.

    Attributes:
        numbers: These entries.
        objects: What is needed by what they lead to.
        counted: When all of it was counted.
    """

    numbers: dict[Reference, int] = field(default_factory=dict)
    objects: dict[Digest, int] = field(default_factory=dict)
    counted: float = field(default_factory=time.monotonic)


class UsageCounter:
    """Counts each object that a namespace needs once, by its size as it is, whoever else needs it,
    too: what one namespace holds does not depend on what others do.

    What names have led to counts until a prune has deleted it: else who moves or deletes a name
    again and again would fill the disk. What was sent and not committed is counted apart, in this
    process, for a day: it may be as much again, and keeps nobody from a commit that fits.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # A count of one namespace keeps no other waiting.
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)
        self._known: dict[str, _Known] = {}
        self._sent: dict[str, dict[Digest, tuple[int, float]]] = {}
        self._runs: dict[str, tuple[float, int]] = {}
        self._signed = Counter[str]()
        self._signed_until = 0.0

    @contextmanager
    def sending(
        self, namespace: str, objects: Iterable[tuple[Digest, int]], most: int
    ) -> Iterator[NamespaceUsage]:
        """Count what is sent and not committed yet, for a day, unless keeping it fails. The total
        is what names would lead to with it, or all that was sent, whichever is more; if that is
        more than ``most`` bytes, nothing is counted.
        """
        sizes = dict(objects)
        held, added = self._send(namespace, sizes, most, anew=False)
        if held.total > most:
            held, added = self._send(namespace, sizes, most, anew=True)
        try:
            yield held
        except BaseException:
            with self._locks[namespace]:
                for digest in added:
                    self._sent[namespace].pop(digest, None)
            raise

    def _send(
        self, namespace: str, sizes: Mapping[Digest, int], most: int, *, anew: bool
    ) -> tuple[NamespaceUsage, list[Digest]]:
        """Look and count in one step: many may be sent at once. Which are counted from now on."""
        with self._locks[namespace]:
            held, sent = self._after(namespace, sizes, anew=anew), self._sent[namespace]
            new = {
                digest: sizes[digest] for digest in sizes.keys() - self._known[namespace].objects
            }
            waiting = {digest: size for digest, (size, _) in sent.items()} | new
            held = held._replace(total=max(held.total, sum(waiting.values())))
            if held.total > most:
                return held, []
            added, at = [*new.keys() - sent.keys()], time.monotonic()
            sent.update({digest: (size, at) for digest, size in new.items()})
            return held, added

    def after(
        self, namespace: str, objects: Iterable[tuple[Digest, int]] = (), *, anew: bool = False
    ) -> NamespaceUsage:
        """What a namespace would hold with these objects, of which those are new that no name of it
        leads to yet; ``anew``: as it is now, prunes included.
        """
        with self._locks[namespace]:
            return self._after(namespace, dict(objects), anew=anew)

    def _after(self, namespace: str, sizes: Mapping[Digest, int], *, anew: bool) -> NamespaceUsage:
        known = self._look_at(namespace, anew=anew).objects
        new = sum(size for digest, size in sizes.items() if digest not in known)
        beside = self._reported(namespace) + self._signatures()[namespace]
        return NamespaceUsage(new, sum(known.values()) + new + beside)

    def of_repo(self, repo: str) -> Iterator[tuple[Digest, int]]:
        """The objects that the versions of a name need, and needed."""
        for ref in self._refs(repo):
            yield from self._needed(ref, 0).items()

    def _look_at(self, namespace: str, *, anew: bool) -> _Known:
        there = self._known.get(namespace)
        if there and time.monotonic() - there.counted < ANEW_SECONDS:
            anew = False
        known = _Known() if anew or not there else there
        for repo in folders(self._store.backend, f"refs/{namespace}/"):
            for ref in self._refs(f"{namespace}/{repo}"):
                self._look(ref, known)
        self._known[namespace] = known
        since, sent = time.monotonic() - SENT_SECONDS, self._sent.pop(namespace, {})
        self._sent[namespace] = {
            digest: (size, at)
            for digest, (size, at) in sent.items()
            if at >= since and digest not in known.objects
        }
        return known

    def _reported(self, namespace: str) -> int:
        """Bytes of the runs that were reported of the names of a namespace."""
        at, size = self._runs.get(namespace, (0.0, 0))
        if not at or time.monotonic() - at > ANEW_SECONDS:
            files = self._store.disk.walk(f"{REPORTED}/{namespace}")
            size = sum(status.st_size for _, status in files)
            self._runs[namespace] = time.monotonic(), size
        return size

    def signed(self, namespace: str, size: int) -> None:
        """Count a signature that was put under a name of a namespace."""
        with self._locks[SIGNED]:
            self._signed[namespace] += size

    def _signatures(self) -> Counter[str]:
        """Bytes of the signatures that lie under the names of each namespace. They are looked at
        again after 20 times what that takes: other processes add to them, and prunes delete some.
        """
        with self._locks[SIGNED]:
            if (began := time.monotonic()) >= self._signed_until:
                self._signed = Counter()
                for file in self._store.readable_files("signatures")[0]:
                    if kept := kept_at(file):
                        self._signed[kept.path.partition("/")[0]] += file.bytes
                took = time.monotonic() - began
                self._signed_until = began + max(ANEW_SECONDS, 20 * took)
            return self._signed

    def _refs(self, repo: str) -> Iterator[Reference]:
        namespace, _, name = repo.partition("/")
        for tag in folders(self._store.backend, f"refs/{repo}/"):
            with suppress(InvalidReference):
                yield Reference(namespace, name, tag)

    def _look(self, ref: Reference, known: _Known) -> None:
        entry, before = self._store.read_ref(ref), known.numbers.get(ref, 0)
        if entry and entry.number != before:
            known.objects |= self._needed(ref, before if entry.number > before else 0)
            known.numbers[ref] = entry.number

    def _needed(self, ref: Reference, after: int) -> dict[Digest, int]:
        objects: dict[Digest, int] = {}
        log = self._store.history_since_damage(ref, after=after)
        for manifest in {entry.manifest for entry in log}:
            with suppress(ZooError):  # it was pruned, or is damaged: then nobody can use it
                objects.update(self._store.document(manifest).objects())
        return objects
