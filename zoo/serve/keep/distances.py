"""Distances: how far checkpoints are from others, unit by unit, worked out beside what is answered.

It takes as long as to read all that differs, so whoever asks gets what is known by then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event, Lock

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.errors import ZooError
from zoo.lookup.compare import compare
from zoo.lookup.diff import UnitDiff, measured, unit_diff
from zoo.serve.keep.recent import LruCache
from zoo.store.encoded import object_size
from zoo.workspace import Workspace

__all__ = ["DistanceWorker", "Distances"]

LOG = logging.getLogger("zoo.serve")
MOST_BYTES, LARGEST_BYTES = 16 << 30, 2 << 30
"""So many bytes are read for two checkpoints, and so many of one object, which may be in memory in
whole; of larger ones it is not told.
"""
ROOM, WAITING = 20_000, 32
"""Units that are kept in memory; pairs that wait to be worked out."""
AGAIN_SECONDS = 60.0
"""After so long it is tried again where it has failed: what is damaged can be repaired."""


@dataclass(slots=True)
class Distances:
    """What became of the units of a checkpoint, as far as it is known.

    Attributes:
        units: By their names.
        known: Whether units are those of the networks, rather than read off names of tensors.
        done: Set once there is no more to come.
        problem: Why that is not all; empty if it is.
        ended: When it was, by `time.monotonic`.
    """

    units: dict[str, UnitDiff] = field(default_factory=dict)
    known: bool = False
    done: Event = field(default_factory=Event)
    problem: str = ""
    ended: float = 0.0

    @property
    def over(self) -> bool:
        """Whether it has failed so long ago that it is tried again."""
        failed = self.done.is_set() and self.problem
        return bool(failed) and time.monotonic() - self.ended >= AGAIN_SECONDS


class DistanceWorker:
    """The distances between checkpoints of a zoo, those that were asked for last."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._recent: LruCache[tuple[Digest, Digest], Distances] = LruCache(
            ROOM, lambda distances: 100 + len(distances.units)
        )
        self._starting, self._waiting, self._closed = Lock(), 0, False
        self._thread = ThreadPoolExecutor(1, "distances")

    def of(self, before: Digest, after: Digest, patience: float) -> Distances:
        """How far ``after`` is from ``before``, both of which are here, as far as it is known
        after ``patience`` seconds.
        """
        with self._starting:
            distances = self._recent.get((before, after))
            if distances is None or distances.over:
                distances = Distances()
                if self._closed or self._waiting >= WAITING:
                    return distances  # whoever asks again may be luckier
                self._recent.put((before, after), distances)
                self._waiting += 1
                self._thread.submit(self._work, before, after, distances)
        distances.done.wait(patience)
        return distances

    def of_each(self, pairs: Iterable[tuple[Digest, Digest]], patience: float) -> list[Distances]:
        """As `of`, of several pairs after ``patience`` seconds in all."""
        until = time.monotonic() + patience
        begun = [self.of(*pair, 0) for pair in pairs]
        for distances in begun:
            distances.done.wait(max(0.0, until - time.monotonic()))
        return begun

    def close(self) -> None:
        """Stop, whatever it is at."""
        self._closed = True
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _work(self, before: Digest, after: Digest, distances: Distances) -> None:
        try:
            self._fill(before, after, distances)
        except ZooError as error:
            LOG.warning("%s and %s are not compared: %s", before.short, after.short, error)
            distances.problem = "the bytes of one of them cannot be read"
        except Exception:
            LOG.exception("%s and %s are not compared", before.short, after.short)
            distances.problem = "comparing them has failed; the server's log tells why"
        finally:
            with self._starting:
                self._waiting -= 1
                self._recent.put((before, after), distances)  # now that it is known how large it is
            distances.ended = time.monotonic()
            distances.done.set()

    def _fill(self, before: Digest, after: Digest, distances: Distances) -> None:
        store = self._workspace.store
        one, other = store.manifest(before), store.manifest(after)
        sizes = [0, *self._sizes(one, other)]
        if sum(sizes) > MOST_BYTES or max(sizes) > LARGEST_BYTES:
            distances.problem = "they are too large to be compared here: zoo diff does it"
            return
        compared = compare(self._workspace, one, other)
        distances.known = compared.known
        distances.units = {unit.name: unit_diff(unit) for unit in compared.units}
        for unit in compared.units:
            if self._closed:
                distances.problem = "the server ends"
                return
            distances.units[unit.name] = measured(store, unit)

    def _sizes(self, one: Manifest, other: Manifest) -> Iterator[int]:
        """Sizes of the objects that only one of them has: those can have to be read."""
        sets = ({tensor.object for tensor in each.tensors} for each in (one, other))
        first, second = sets
        return (object_size(self._workspace.store, digest) for digest in first ^ second)
