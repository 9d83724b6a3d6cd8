"""Proving: a checkpoint's files are put together and hashed while its objects arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition

from zoo.config import cores
from zoo.domain.digest import Digest
from zoo.errors import InvalidManifest, Unavailable
from zoo.store import Store
from zoo.store.manifests import Document
from zoo.store.proof import Buffer, File, Range, check_file, files_of, stored_ranges

__all__ = ["proving"]


@contextmanager
def proving(
    store: Store, digest: Digest, manifest: Document, present: Iterable[Digest]
) -> Iterator[Callable[[Digest], None]]:
    """A context in which objects arrive; at its end the files are proven, or an error is raised.

    SHA-256 takes longer than all else that is done to a byte here, so it runs beside.

    Args:
        store: Where the objects arrive.
        digest: The manifest or snapshot.
        manifest: The same, read.
        present: Objects that have arrived.

    Yields:
        What is to be called with each object once it has arrived.
    """
    arrived = _Arrived(store, present)

    def prove(file: File) -> None:
        try:
            check_file(file, arrived.read)
        except InvalidManifest as error:
            raise InvalidManifest(f"manifest {digest}: {error}") from error

    with ThreadPoolExecutor(cores()) as pool:
        try:
            proofs = [pool.submit(prove, file) for file in files_of(manifest)]
            yield arrived.note
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            # Before the pool is waited for: its threads wait for objects that will not come.
            arrived.end()
        for proof in proofs:
            proof.result()


class _Arrived:
    """The objects that have arrived; whoever reads another one waits for it."""

    def __init__(self, store: Store, present: Iterable[Digest]) -> None:
        self._read = stored_ranges(store)
        self._here, self._ended, self._changed = set(present), False, Condition()

    def note(self, digest: Digest) -> None:
        with self._changed:
            self._here.add(digest)
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def read(self, span: Range) -> Iterable[Buffer]:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or span[0] in self._here)
            if span[0] not in self._here:
                raise Unavailable("the transfer", "was stopped")
        return self._read(span)
