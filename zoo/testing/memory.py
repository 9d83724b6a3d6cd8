"""A remote in this process's memory: for tests of what talks to remotes, and the contract at its
plainest.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Self

from blake3 import blake3

from zoo.codec.header import check
from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.errors import Conflict, Corrupt, MissingObject

__all__ = ["MemoryRemote"]


class MemoryRemote:
    """Implements `zoo.contracts.Remote`. Nothing prunes it, and it ends with the process."""

    def __init__(self, location: str = "memory") -> None:
        self.location = location
        self._bodies: dict[tuple[Kind, Digest], bytes] = {}
        self._moves: dict[Reference, list[RefEntry]] = defaultdict(list)
        self._lock = threading.Lock()

    @classmethod
    def connect(cls, location: str, *, create: bool) -> Self:  # noqa: ARG003 - it is always new
        """An empty one."""
        return cls(location)

    def missing(self, kind: Kind, digests: Iterable[Digest]) -> set[Digest]:
        """Those of ``digests`` that are not here."""
        return {digest for digest in digests if (kind, digest) not in self._bodies}

    def size(self, kind: Kind, digest: Digest) -> int:
        """Size in bytes.

        Raises:
            MissingObject: Not here.
        """
        return len(self._body(kind, digest))

    def read(self, kind: Kind, digest: Digest, offset: int = 0) -> Iterator[bytes]:
        """The bytes from ``offset`` on.

        Raises:
            MissingObject: Not here.
        """
        yield self._body(kind, digest)[offset:]

    def write(self, kind: Kind, digest: Digest, pieces: Iterable[bytes | memoryview]) -> bool:
        """Keep bytes under their digest; False if they were here already.

        Raises:
            Corrupt: The bytes are not what ``digest`` (or the checksum) says; nothing was kept.
        """
        body = b"".join(pieces)
        if kind == "encoded":
            check(body)
        elif (found := f"blake3:{blake3(body).hexdigest()}") != str(digest):
            raise Corrupt(str(digest), str(digest), found)
        with self._lock:
            new = (kind, digest) not in self._bodies
            self._bodies.setdefault((kind, digest), body)
        return new

    def upload(self) -> AbstractContextManager[None]:
        """Announce that things are being written; there is nobody to hear it."""
        return nullcontext()

    def refs(self) -> Iterator[Reference]:
        """All names, sorted."""
        return iter(sorted(ref for ref, moves in self._moves.items() if moves))

    def read_ref(self, ref: Reference) -> RefEntry | None:
        """The newest entry of ``ref``, or None."""
        return next(reversed(self.history(ref)), None)

    def history(self, ref: Reference) -> tuple[RefEntry, ...]:
        """All entries of ``ref``, oldest first."""
        return tuple(self._moves.get(ref, ()))

    def append_ref(self, ref: Reference, entry: RefEntry) -> None:
        """Create entry ``entry.number`` of ``ref``, exclusively.

        Raises:
            Conflict: That number exists, or the one before it does not.
        """
        with self._lock:
            moves = self._moves[ref]
            if entry.number != len(moves) + 1:
                current = str(moves[-1].manifest) if moves else ""
                raise Conflict(f"{ref} was moved by someone else", current)
            moves.append(entry)

    def _body(self, kind: Kind, digest: Digest) -> bytes:
        try:
            return self._bodies[kind, digest]
        except KeyError:
            raise MissingObject(kind, str(digest), self.location) from None
