"""Blobs: the bytes of files, as they are sent, and who may rely on those that are here.

A file is *there* for somebody if a repository that they may read has it, or had it, or if they have
sent it themselves within a day, and to the same repository: another token of theirs may be for
others alone. Knowing the SHA-256 of a file is no right to it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress
from secrets import token_hex
from typing import TYPE_CHECKING

from zoo.domain.digest import Digest
from zoo.domain.limits import LEFT_BYTES
from zoo.domain.manifest import objects_of
from zoo.domain.snapshot import SnapshotFile, Weights
from zoo.errors import Corrupt, DiskFull, MissingObject, Unavailable
from zoo.serve.http.errors import Refused
from zoo.serve.hub.quota import check_size, sending
from zoo.serve.keep.git import blob_id
from zoo.serve.keep.history import History
from zoo.serve.keep.holders import Holders
from zoo.store import Store
from zoo.store.encoded import absent
from zoo.store.incoming import incoming
from zoo.store.sent import FOLDER, keep_sent, sent
from zoo.store.turn import patient_upload

if TYPE_CHECKING:
    from zoo.serve.hub.ask import Ask

__all__ = ["TIDIED", "Blobs"]

TIDIED = "the zoo was tidied up meanwhile: send the files again"
PATH = "file"
"""What was sent needs a path to be written down, and gets its own when it is committed."""


class Blobs:
    """The bytes of files in a store. Each is told of as a `SnapshotFile` whose path nobody has said
    yet.

    Attributes:
        holders: Which repositories have which files.
    """

    def __init__(self, store: Store, history: History) -> None:
        self._store, self.holders = store, Holders(store, history)

    def folder(self, account: str, name: str) -> str:
        """A folder for what an account sends, which is cleared an hour after it was written to."""
        return f"{FOLDER}/{account}/{name}"

    def receive(
        self, ask: Ask, pieces: Iterable[bytes | memoryview], size: int, sha256: str | None
    ) -> SnapshotFile:
        """Keep a file of ``size`` bytes that is sent, for a day or until it is committed.

        Raises:
            Corrupt: It has another size, or another SHA-256; nothing was kept.
            DiskFull: No space left; nothing was kept.
            Conflict: A prune is under way.
            Refused: The namespace may not hold it; nothing was kept.
        """
        check_size(ask, size)
        return self._take_in(ask, pieces, size, sha256, None)

    def add(self, data: bytes, ask: Ask) -> SnapshotFile:
        """Keep the bytes of a small file. Until a commit has it, a prune spares it for its age.

        Raises:
            DiskFull: No space left; nothing was kept.
            Conflict: A prune is under way.
            Refused: What had arrived was cleared away before it was kept.
        """
        with patient_upload(self._store):  # else a prune takes what was seen to be here already
            try:
                return self._take_in(ask, [data], len(data), None, blob_id(data))
            except MissingObject as error:
                raise Refused("Busy", TIDIED) from error

    def _take_in(
        self,
        ask: Ask,
        pieces: Iterable[bytes | memoryview],
        size: int,
        sha256: str | None,
        git: str | None,
    ) -> SnapshotFile:
        if size > shutil.disk_usage(self._store.root).free - LEFT_BYTES:
            raise DiskFull(self._store.root)
        folder = self.folder(ask.actor.name, f"tmp-{token_hex(8)}")
        with incoming(self._store, pieces, size=size, folder=folder) as came:
            if sha256 not in (None, came.sha256.hex):
                raise Corrupt("the file", f"sha256:{sha256}", str(came.sha256))
            weights = Weights(header=came.object, tensors=came.tensors) if came.tensors else None
            blob = SnapshotFile(
                path=PATH,
                size=size,
                sha256=came.sha256,
                git=git,
                weights=weights,
                object=None if weights else came.object,
            )
            counted = nullcontext() if git else sending(ask, objects_of([blob.stored]))
            with counted, patient_upload(self._store):
                came.publish()
                if git is None:
                    keep_sent(self._store, ask.actor.name, ask.repo, blob)
        return blob

    def find(self, sha256: str, ask: Ask) -> SnapshotFile | None:
        """A file that is there for who asks; None if none is."""
        digest = Digest("sha256", sha256)
        account = ask.actor.name
        upload = sent(self._store, account, ask.repo, digest) if account else None
        for file in [upload] if upload else self._readable(digest, ask):
            if self._is_whole(file):
                return file
        return None

    def _readable(self, digest: Digest, ask: Ask) -> Iterator[SnapshotFile]:
        """The file in the repositories that may be read."""
        if ask.repo:
            yield from self._in(ask.repo, digest, ask)
        others = self.holders.repos(digest.hex) - {ask.repo}
        all_rules = ask.knowing_all() if others else ask
        for repo in sorted(others):
            if all_rules.may("read", repo):
                yield from self._in(repo, digest, ask)

    def _in(self, repo: str, digest: Digest, ask: Ask) -> Iterator[SnapshotFile]:
        with suppress(Unavailable, MissingObject):  # it is being described, or was pruned just now
            for manifest, path in self.holders.places(repo, digest.hex, ask.patience):
                if self._store.has_manifest(manifest):
                    yield SnapshotFile.of(ask.hub.files.file(manifest, path))

    def _is_whole(self, file: SnapshotFile) -> bool:
        return not absent(self._store, [digest for digest, _ in objects_of([file.stored])])
