"""Signatures: files beside the manifests of a store, each by its own digest.

signatures/<2 digits>/<manifest>/<namespace>/<name>/<signature>.json: one of a manifest is found
whatever that is called; under which name it was put decides who may see it on a server.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from blake3 import blake3

from zoo.domain.digest import Digest
from zoo.domain.limits import SIGNATURE_BYTES, SIGNATURES
from zoo.domain.reference import PART
from zoo.domain.stored import StoredFile
from zoo.errors import Corrupt, Forbidden, Unsupported
from zoo.store.capabilities import read_small, sync
from zoo.store.store import Store

__all__ = [
    "FOLDER",
    "KEY",
    "StoredSignature",
    "copy_signatures",
    "folder_of",
    "keep_signature",
    "kept_at",
    "signatures_of",
    "signatures_under",
]

FOLDER = "signatures"
LISTED = SIGNATURES * SIGNATURES
"""Files in a folder of signatures that are looked at."""
NAME = f"{PART.pattern}/{PART.pattern}"
KEY = re.compile(rf"{FOLDER}/([0-9a-f]{{2}})/(\1[0-9a-f]{{62}})/({NAME})/([0-9a-f]{{64}})\.json")


@dataclass(frozen=True, slots=True)
class StoredSignature:
    """A signature in a store.

    Attributes:
        manifest: What it is said to be of.
        path: The name under which it was put: ``team/flowers``.
        digest: That of its bytes.
        key: Where it is.
        at: When it was put there.
    """

    manifest: Digest
    path: str
    digest: Digest
    key: str
    at: datetime

    def read(self, store: Store) -> bytes:
        """Its bytes.

        Raises:
            Corrupt: There are too many, or they are others.
            FileNotFoundError: It is gone.
        """
        data = read_small(store.backend, self.key, SIGNATURE_BYTES)
        if (actual := Digest("blake3", blake3(data).hexdigest())) != self.digest:
            raise Corrupt(f"signature {self.key}", str(self.digest), str(actual))
        return data


def folder_of(manifest: Digest) -> str:
    """Where the signatures of a manifest are."""
    return f"{FOLDER}/{manifest.hex[:2]}/{manifest.hex}/"


def kept_at(file: StoredFile) -> StoredSignature | None:
    """The signature that a file is; None if it is none."""
    match = KEY.fullmatch(file.name)
    if match is None:
        return None
    manifest, digest = Digest("blake3", match[2]), Digest("blake3", match[4])
    return StoredSignature(manifest, match[3], digest, file.name, file.at)


def signatures_of(store: Store, manifest: Digest, path: str) -> list[StoredSignature]:
    """The signatures of a manifest, each once, by digest, but those first that were put under the
    name ``path``; not more than `SIGNATURES` of them.
    """
    files = [*islice(store.backend.list(folder_of(manifest)), LISTED)]
    if path and len(files) == LISTED:  # those of other names must not keep these from being seen
        with suppress(Unsupported):  # a server of before it listed them
            files += islice(store.backend.list(f"{folder_of(manifest)}{path}/"), LISTED)
    each = (kept for file in files if (kept := kept_at(file)) and kept.manifest == manifest)
    signatures: dict[Digest, StoredSignature] = {}
    for kept in sorted(each, key=lambda kept: (kept.path != path, kept.digest, kept.path)):
        signatures.setdefault(kept.digest, kept)
    return [*signatures.values()][:SIGNATURES]


def signatures_under(store: Store, manifest: Digest, path: str) -> set[Digest]:
    """The signatures of a manifest that were put under the name ``path``."""
    files = store.backend.list(f"{folder_of(manifest)}{path}/")
    return {kept.digest for file in files if (kept := kept_at(file))}


def keep_signature(store: Store, manifest: Digest, path: str, data: bytes) -> Digest:
    """Keep a signature of a manifest under the name ``path``; its digest.

    Raises:
        DiskFull, Forbidden: It cannot be written.
    """
    digest = Digest("blake3", blake3(data).hexdigest())
    store.backend.create(f"{folder_of(manifest)}{path}/{digest.hex}.json", data)
    sync(store.backend)
    return digest


def copy_signatures(store: Store, manifest: Digest, path: str, to: str) -> None:
    """Have whoever sees the name ``to`` see the signatures that were put under ``path``, too; those
    that are damaged, or cannot be read, stay where they are.
    """
    if path == to:
        return
    for kept in signatures_of(store, manifest, path):
        if kept.path == path:
            with suppress(Corrupt, Forbidden, FileNotFoundError):
                keep_signature(store, manifest, to, kept.read(store))
