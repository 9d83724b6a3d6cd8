"""Reuse: files of a release that the zoo has already, in other checkpoints or in this one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zoo.domain.catalog import Release, SourceFile
from zoo.domain.digest import Digest
from zoo.domain.hashes import git_hash
from zoo.domain.limits import MANIFEST_BYTES
from zoo.domain.manifest import Manifest, PlainFile, WeightsFile
from zoo.errors import ZooError
from zoo.store import Store
from zoo.store.files import restore_file

__all__ = ["LocalFiles"]

LOOKED_AT = 1000
"""Manifests, the newest first: reading more would take longer than fetching what they may have."""
PARSED = 20
ASKED = 8

File = WeightsFile | PlainFile


class LocalFiles:
    """Files that are here, found by the digests and sizes that a release promises.

    Args:
        store: The zoo's.
        release: What is fetched.
    """

    def __init__(self, store: Store, release: Release) -> None:
        self._store = store
        self._release = release
        self._files: list[File] | None = None

    def restore(self, promised: SourceFile, target: Path) -> bool:
        """Write a file to ``target``, if the same bytes are here; whether they were."""
        return any(self._restored(file, promised, target) for file in self._alike(promised))

    def _restored(self, file: File, promised: SourceFile, target: Path) -> bool:
        try:
            restore_file(self._store, file, target)
        except ZooError:  # damaged here: the source has it whole
            return False
        # A SHA-256 was compared and is checked. Of small files the hub tells Git's digest.
        if promised.sha256 is not None:
            return True
        with target.open("rb") as written:
            if git_hash(written) == promised.git:
                return True
        target.unlink()
        return False

    def _alike(self, promised: SourceFile) -> Iterator[File]:
        """The files that may be the promised one; none if nothing tells them apart."""
        if self._files is None:
            files: list[File] = []
            for manifest in self._manifests():
                files += [*manifest.weights, *manifest.files]
            self._files = files  # whole: weights are looked for in another thread
        name = Path(promised.path).name
        for file in self._files:
            if promised.sha256 is not None:
                same = file.sha256.hex == promised.sha256
            else:
                same = promised.git is not None and file.name == name
            if same and file.size == promised.size:
                yield file

    def _manifests(self) -> Iterator[Manifest]:
        """The newest manifests that speak of the same place, or of the same bytes."""
        digests = [file.sha256 for file in self._release.files if file.sha256][:ASKED]
        repo = self._release.locator.partition("@")[0]
        sought = [text.encode() for text in (f'"{repo}', *digests)]
        newest = sorted(self._store.files("manifests"), key=lambda file: file.at, reverse=True)
        parsed = 0
        for file in newest[:LOOKED_AT]:
            try:
                digest = Digest("blake3", Path(file.name).stem)
                text = b"".join(self._store.read("manifests", digest, 0, MANIFEST_BYTES))
                if not any(each in text for each in sought):
                    continue
                yield self._store.manifest(digest)
            except ZooError:  # what is damaged, or no manifest, is no help
                continue
            parsed += 1
            if parsed == PARSED:
                return
