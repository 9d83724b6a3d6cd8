"""The library, which takes files in a folder: it is given the digests that a manifest states, so
that nothing is hashed again. It is imported by those who sign or check, and by nobody else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import PurePosixPath

from model_signing import hashing, manifest, signing, verifying
from model_signing._hashing.hashing import Digest  # what its public classes are made with

from zoo.domain.signature import SIGNATURES, Signed

__all__ = ["KnownDigests", "signing", "verifying"]


class KnownDigests(hashing.Config):
    """The digests of what is signed, in the place of what hashes files.

    Attributes:
        asked: Whether they were asked for. Of a signature that is checked they are asked for last,
            when it is one of whoever is said to have made it.
    """

    def __init__(self, signed: Signed) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._signed, self.asked = signed, False

    def hash(
        self,
        model_path: str | bytes | os.PathLike[str],  # noqa: ARG002 - nothing is read
        *,
        files_to_hash: Iterable[str | bytes | os.PathLike[str]] | None = None,  # noqa: ARG002
    ) -> manifest.Manifest:
        """The files with their digests, called by the checkpoint's."""
        self.asked = True
        form = manifest.SerializationType.from_args(
            {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURES],
            }
        )
        items = [
            manifest.FileManifestItem(
                path=PurePosixPath(name), digest=Digest("sha256", bytes.fromhex(digits))
            )
            for name, digits in self._signed.files.items()
        ]
        return manifest.Manifest(str(self._signed.manifest), items, form)
