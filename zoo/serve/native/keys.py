"""Keys: what a key of the store is, as a client names it."""

from __future__ import annotations

import re
from typing import NamedTuple

from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.domain.stored import StoredFile
from zoo.errors import InvalidReference
from zoo.store.listing import KIND_NAMES, name_of
from zoo.store.signatures import FOLDER, StoredSignature, folder_of, kept_at

__all__ = [
    "Content",
    "Entry",
    "content_of",
    "entry_of",
    "is_raw",
    "is_raw_folder",
    "repo_of_folder",
    "signature_of",
    "signed_in",
]

CONTENT = re.compile(r"([a-z-]+)/[0-9a-f]{2}/([0-9a-f]{64})(\.json)?")
ENTRY = re.compile(r"refs/([^/]+)/([^/]+)/([^/]+)/(\d{8})\.json", re.ASCII)
RAW = re.compile(
    r"((objects|encoded|manifests|encoded-manifests|pruned|signatures)/[0-9a-f]{2}|tmp|sent)"
    r"(/(?!\.\.?(/|$))[\w.-]{1,255}){1,4}",
    re.ASCII,
)
"""What else an admin reads, writes and deletes: a verify, a prune and a repair do."""


class Content(NamedTuple):
    """An object or a manifest."""

    kind: Kind
    digest: Digest


class Entry(NamedTuple):
    """An entry of a name."""

    ref: Reference
    number: int


def content_of(key: str) -> Content | None:
    """The object or manifest that a key is; None if it is none."""
    match = CONTENT.fullmatch(key)
    for kind in KIND_NAMES:
        if match and match[1] == kind:
            content = Content(kind, Digest("blake3", match[2]))
            return content if name_of(*content) == key else None
    return None


def entry_of(key: str) -> Entry | None:
    """The entry of a name that a key is; None if it is none."""
    match = ENTRY.fullmatch(key)
    if match is None:
        return None
    try:
        return Entry(Reference(match[1], match[2], match[3]), int(match[4]))
    except InvalidReference:
        return None


def signature_of(file: StoredFile) -> StoredSignature | None:
    """The signature that a file is, as a client names it; None if it is none."""
    kept = kept_at(file)
    try:
        Reference.parse(kept.path if kept else "")
    except InvalidReference:
        return None
    return kept


def signed_in(folder: str) -> Digest | None:
    """The manifest that a folder has signatures of, all or those of a name; None if it is none
    such.
    """
    manifest, _, path = folder.removeprefix(f"{FOLDER}/")[3:].partition("/")
    try:
        digest = Digest("blake3", manifest)
        if path:
            Reference.parse(path)
    except InvalidReference:
        return None
    return digest if f"{folder_of(digest)}{path}".rstrip("/") == folder else None


def repo_of_folder(folder: str) -> str | None:
    """The repository that a folder of names is in; empty if there may be several below it, None if
    it is no folder of names.
    """
    root, *parts = folder.strip("/").split("/")
    if root != "refs" or len(parts) > 3:
        return None
    try:
        Reference(*(*parts, *["x"] * (3 - len(parts))))
    except InvalidReference:
        return None
    return "/".join(parts[:2]) if len(parts) > 1 else ""


def is_raw(key: str) -> bool:
    """Whether an admin may do with a key as with a file in the zoo's folder."""
    return RAW.fullmatch(key) is not None


def is_raw_folder(folder: str) -> bool:
    """Whether an admin may list a folder: one of the store's own, or one below them."""
    first, *below = folder.rstrip("/").split("/")
    known = (*KIND_NAMES, "pruned", "signatures", "tmp", "sent")
    return first in known and not {"..", ".", ""} & {*below}
