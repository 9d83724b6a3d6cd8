"""Proving: a checkpoint's files are put together and hashed while its objects arrive."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition
from types import TracebackType
from typing import Self

from zoo.config import cores
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, PlainFile, WeightsFile
from zoo.errors import InvalidManifest, Unavailable
from zoo.store import Store
from zoo.store.proof import Buffer, Range, check_file, files_of, stored_ranges
from zoo.transfer.at_once import Mover

__all__ = ["Proving"]


class Proving:
    """A context in which objects arrive; at its end the files are proven, or an error is raised.

    SHA-256 takes longer than all else that is done to a byte here, so it runs beside.

    Args:
        store: Where the objects arrive.
        digest: The manifest.
        manifest: The same, read.
        there: Objects that have arrived.
    """

    def __init__(
        self, store: Store, digest: Digest, manifest: Manifest, there: Iterable[Digest]
    ) -> None:
        self._digest = digest
        self._read = stored_ranges(store)
        self._there, self._ended = set(there), False
        self._changed = Condition()
        self._pool = ThreadPoolExecutor(cores())
        self._files: list[Future[None]] = [
            self._pool.submit(self._prove, file) for file in files_of(manifest)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        with self._changed:
            self._ended = True  # whoever still waits does so for what will not come
            self._changed.notify_all()
        self._pool.shutdown(cancel_futures=error is not None)
        if error is None:
            for file in self._files:
                file.result()

    def told_of(self, mover: Mover) -> Mover:
        """The same mover; what it has moved has arrived."""
        return _Told(mover, self)

    def arrived(self, digest: Digest) -> None:
        """Go on with this one."""
        with self._changed:
            self._there.add(digest)
            self._changed.notify_all()

    def _prove(self, file: WeightsFile | PlainFile) -> None:
        try:
            check_file(file, self._once_there)
        except InvalidManifest as error:
            raise InvalidManifest(f"manifest {self._digest}: {error}") from error

    def _once_there(self, span: Range) -> Iterable[Buffer]:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or span[0] in self._there)
            if span[0] not in self._there:
                raise Unavailable("the transfer", "was stopped")
        return self._read(span)


class _Told:
    def __init__(self, mover: Mover, proving: Proving) -> None:
        self._mover, self._proving = mover, proving

    def move(self, digest: Digest) -> int:
        moved = self._mover.move(digest)
        self._proving.arrived(digest)
        return moved
