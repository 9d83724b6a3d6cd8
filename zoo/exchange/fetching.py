"""The files of a release, on this machine: checked, and resumed where a fetch was cut off."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

from zoo.contracts import Local, Source
from zoo.domain.catalog import Release, SourceFile
from zoo.domain.hashes import git_hasher, sha256_of
from zoo.domain.progress import Progress, Task, silent
from zoo.errors import Corrupt, Unavailable
from zoo.exchange.layouts import INDEX, parts
from zoo.exchange.reuse import LocalFiles
from zoo.store import Store, partial

__all__ = ["Fetcher"]

LARGEST_PIECE = 64 << 20


class Fetcher:
    """Fetches files of one release.

    Args:
        source: Delivers them.
        release: What is fetched from.
        store: The zoo's: has files of other checkpoints, and keeps what was cut off.
        scratch: Where whole files are put, under their own names.
        progress: Told of weights.
    """

    def __init__(
        self, source: Source, release: Release, store: Store, scratch: Path, progress: Progress
    ) -> None:
        self._source = source
        self._release = release
        self._disk = store.disk
        self._held = LocalFiles(store, release)
        self._scratch = scratch
        self._progress = progress
        self._fetched: list[str] = []
        self._begun: Future[list[Path]] | None = None
        self._stopped = Event()

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """While it is open, the weights are fetched beside all else that is done."""
        with ThreadPoolExecutor(1) as beside:
            try:
                self._begun = beside.submit(self._weights, self._release.weights)
                yield
            finally:
                self._stopped.set()

    def fetch(self, name: str, *, progress: Progress = silent) -> Path:
        """A file of the release, under its own name; what is on this machine is not sent again.

        Raises:
            Corrupt: The bytes are not what the source promised.
            Unavailable: The source stopped answering.
            DiskFull: No space left.
        """
        promised = self._release.file(name)
        with progress(f"pulling from {self._release.source}", promised.size, "B") as task:
            here = self._here(promised)
            if here is not None:
                task.advance(promised.size)
                return here
            return self._download(promised, task)

    def _here(self, promised: SourceFile) -> Path | None:
        """The file, if its bytes are on this machine."""
        target = self._scratch / Path(promised.path).name
        if isinstance(self._source, Local):
            path = self._source.local(self._release, promised.path)
            if path is not None and sha256_of(path) == promised.sha256:
                if path.name == target.name:
                    return path  # no second copy
                target.symlink_to(path)
                return target
        return target if self._held.restore(promised, target) else None

    def weights(self, name: str) -> list[Path]:
        """The file of weights ``name``; or, if that is the index of several, it and these in order.

        Raises:
            Unsupported: The index is malformed, or names a file that is not there.
            Corrupt, Unavailable, DiskFull: As for `fetch`.
        """
        if self._begun and name == self._release.weights:
            return self._begun.result()
        return self._weights(name)

    def _weights(self, name: str) -> list[Path]:
        if not name.endswith(INDEX):
            return [self.fetch(name, progress=self._progress)]
        index = self.fetch(name)
        there = {file.path for file in self._release.files}
        names = parts(index, self._release.locator, there)
        return [index, *(self.fetch(part, progress=self._progress) for part in names)]

    def done(self) -> None:
        """Forget what earlier fetches of the same files have left."""
        for name in self._fetched:
            partial.forget(self._disk, self._key(name))

    def _key(self, name: str) -> str:
        """What is known of the bytes, so that other revisions with the same ones continue them;
        else where they are.
        """
        release, promised = self._release, self._release.file(name)
        digest = promised.sha256 or promised.git
        where = (release.source, release.locator, release.revision, name)
        what = digest or "\n".join(where)
        return hashlib.sha256(what.encode()).hexdigest()

    def _download(self, promised: SourceFile, task: Task) -> Path:
        key, begun = self._key(promised.path), 0
        self._fetched.append(promised.path)

        def read(offset: int) -> Iterator[bytes]:
            nonlocal begun
            begun = offset
            return self._pieces(promised, offset, task)

        resume = True
        while True:
            # The last piece may go on past the end, so that `_difference` can tell of it.
            limit = promised.size + LARGEST_PIECE
            with partial.download(
                self._disk,
                key,
                read,
                limit=limit,
                resume=resume,
                hashing=lambda: _hasher(promised),
            ) as whole:
                whole.file.flush()
                wrong = _difference(promised, whole)
                if wrong is None:
                    with suppress(FileNotFoundError):  # forgotten by another pull of the same bytes
                        return (self._disk.root / whole.name).rename(
                            self._scratch / Path(promised.path).name
                        )
                    task.advance(-promised.size)
                    continue
            partial.forget(self._disk, key)
            if not begun:
                raise wrong
            resume = False  # what was there already was damaged: once more, all of it
            task.advance(-promised.size)

    def _pieces(self, promised: SourceFile, offset: int, task: Task) -> Iterator[bytes]:
        """What the source sends from ``offset`` on, up to the first piece past the promised end."""
        task.advance(offset)
        for piece in self._source.open(self._release, promised.path, offset):
            if self._stopped.is_set():
                raise Unavailable(self._release.locator, "canceled")
            offset += len(piece)
            yield piece
            task.advance(len(piece))
            if offset > promised.size:
                return


def _hasher(promised: SourceFile) -> partial.Hasher:
    """Of what the source promises of the bytes: their SHA-256, or what Git calls them."""
    if promised.sha256 is None and promised.git is not None:
        return git_hasher(promised.size)
    return hashlib.sha256()


def _difference(promised: SourceFile, whole: partial.Download) -> Corrupt | None:
    # By the open file: another pull of the same bytes may have forgotten its name.
    size = os.fstat(whole.file.fileno()).st_size
    if size != promised.size:
        actual = f"{size} bytes" if size < promised.size else f"{promised.size} or more bytes"
        return Corrupt(promised.path, f"{promised.size} bytes", actual)
    kind, promise = "sha256", promised.sha256
    if promise is None:
        kind, promise = "git", promised.git
    if promise is None or whole.digest == promise:
        return None
    return Corrupt(promised.path, f"{kind}:{promise}", f"{kind}:{whole.digest}")
