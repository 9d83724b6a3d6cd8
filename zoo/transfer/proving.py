"""Proving: a checkpoint's files are put together and hashed while its objects arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition, Event

from zoo.config import cores
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.errors import InvalidManifest, Unavailable
from zoo.store import Store
from zoo.store.proof import Buffer, File, Range, check_file, files_of, stored_ranges

__all__ = ["proving"]


@contextmanager
def proving(
    store: Store, digest: Digest, manifest: Manifest, present: Iterable[Digest]
) -> Iterator[Callable[[Digest], None]]:
    """A context in which objects arrive; at its end the files are proven, or an error is raised.

    SHA-256 takes longer than all else that is done to a byte here, so it runs beside.

    Args:
        store: Where the objects arrive.
        digest: The manifest.
        manifest: The same, read.
        present: Objects that have arrived.

    Yields:
        What is to be called with each object once it has arrived.
    """
    here, changed, ended = set(present), Condition(), Event()
    read = stored_ranges(store)

    def arrived(item: Digest) -> None:
        with changed:
            here.add(item)
            changed.notify_all()

    def once_here(span: Range) -> Iterable[Buffer]:
        with changed:
            changed.wait_for(lambda: ended.is_set() or span[0] in here)
            if span[0] not in here:
                raise Unavailable("the transfer", "was stopped")
        return read(span)

    def prove(file: File) -> None:
        try:
            check_file(file, once_here)
        except InvalidManifest as error:
            raise InvalidManifest(f"manifest {digest}: {error}") from error

    with ThreadPoolExecutor(cores()) as pool:
        proofs = [pool.submit(prove, file) for file in files_of(manifest)]
        try:
            yield arrived
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            with changed:
                ended.set()  # whoever still waits does so for what will not come
                changed.notify_all()
        for proof in proofs:
            proof.result()
