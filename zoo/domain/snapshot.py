"""Snapshot: canonical JSON that describes the files of a repository; its digest is its identity.

It lies beside manifests, and a name can point at one: folders of any files have no network that a
manifest could tell of. Where they are one that is known, a manifest of it is named.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Self

from msgspec import Meta, ValidationError, convert, to_builtins

from zoo.domain.digest import Digest
from zoo.domain.limits import (
    PART_BYTES,
    PATH_BYTES,
    PATH_FOLDERS,
    SNAPSHOT_FILES,
    SNAPSHOT_PATH_LETTERS,
)
from zoo.domain.manifest import (
    Bytes,
    PlainFile,
    Tensor,
    WeightsFile,
    as_digest,
    canonical,
    is_file_name,
    objects_of,
    read_document,
)
from zoo.errors import MALFORMED, InvalidManifest

__all__ = [
    "Snapshot",
    "SnapshotFile",
    "Weights",
    "folders_of",
    "is_snapshot",
    "why_no_path",
    "why_too_many",
]

FORMAT = 3
"""Manifests are of formats 1 and 2: what reads nothing else says that it does not know this one."""
BEGINNING = b'{"checkpoint":'
"""The canonical form of no manifest begins so."""
NESTING = 8
UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that make a terminal or a page show a path as another one."""
GIT = "[0-9a-f]{40}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A safetensors file taken apart: its verbatim header, its tensors in file order."""

    header: Digest
    tensors: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFile:
    """A file of a repository; it is kept whole as ``object``, or taken apart as ``weights``.

    Attributes:
        path: Where it is, with slashes.
        size: Its bytes.
        sha256: Of its bytes.
        git: The id that Git gives to its bytes; None where Git would keep a pointer, as of all that
            is large.
        object: The object that holds its bytes.
        weights: The objects that hold its bytes.
    """

    path: str
    size: Bytes
    sha256: Digest
    git: Annotated[str, Meta(pattern=f"^{GIT}$")] | None = None
    object: Digest | None = None
    weights: Weights | None = None

    @classmethod
    def of(cls, stored: WeightsFile | PlainFile, git: str | None = None) -> Self:
        """A file of a checkpoint; its name is the path."""
        weights = None
        if isinstance(stored, WeightsFile):
            weights = Weights(header=stored.header, tensors=stored.tensors)
        return cls(
            path=stored.name,
            size=stored.size,
            sha256=stored.sha256,
            git=git,
            object=stored.object if isinstance(stored, PlainFile) else None,
            weights=weights,
        )

    @property
    def stored(self) -> WeightsFile | PlainFile:
        """The file as a checkpoint has it, called by its path."""
        if self.weights:
            return WeightsFile(
                name=self.path,
                size=self.size,
                sha256=self.sha256,
                header=self.weights.header,
                tensors=self.weights.tensors,
            )
        assert self.object
        return PlainFile(name=self.path, size=self.size, sha256=self.sha256, object=self.object)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The files of a repository, sorted by their paths.

    Attributes:
        files: The files.
        checkpoint: The manifest of the network that they are, if it is known.
    """

    files: tuple[SnapshotFile, ...] = ()
    checkpoint: Digest | None = None

    @classmethod
    def of(cls, files: Iterable[SnapshotFile], checkpoint: Digest | None = None) -> Self:
        """A snapshot of these files in any order."""
        return cls(files=tuple(sorted(files, key=lambda file: file.path)), checkpoint=checkpoint)

    @cached_property
    def by_path(self) -> dict[str, SnapshotFile]:
        """The files by their paths."""
        return {file.path: file for file in self.files}

    @property
    def weights(self) -> tuple[WeightsFile, ...]:
        """The files that are taken apart, called by their paths."""
        return tuple(f for file in self.files if isinstance(f := file.stored, WeightsFile))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors of these."""
        return tuple(tensor for weights in self.weights for tensor in weights.tensors)

    def objects(self) -> Iterator[tuple[Digest, int]]:
        """Each object that the files need, once, with the least number of bytes it has."""
        yield from objects_of(file.stored for file in self.files)

    @property
    def logical_bytes(self) -> int:
        """Size of all its files together."""
        return sum(file.size for file in self.files)

    def to_bytes(self) -> bytes:
        """The canonical form, as that of a manifest.

        Raises:
            InvalidManifest: A text in it is none that UTF-8 can hold.
        """
        try:
            return canonical({**to_builtins(self, enc_hook=str), "format": FORMAT}).encode()
        except UnicodeEncodeError as error:
            raise InvalidManifest("it has half a character") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the canonical form.

        Raises:
            InvalidManifest: The bytes are no snapshot.
            Unsupported: One of another format version.
        """
        raw, _ = read_document(data, "snapshot", NESTING, (FORMAT,))
        try:
            snapshot: Self = convert(raw, cls, dec_hook=as_digest)
            snapshot._check()
            if snapshot.to_bytes() != data:
                raise ValueError("it is not in canonical form")
        except MALFORMED as error:
            raise InvalidManifest(f"not a snapshot: {error}") from error
        return snapshot

    def _check(self) -> None:
        paths = [file.path for file in self.files]
        if paths != sorted(set(paths)):
            raise ValueError("its files are not sorted, each once")
        folders = folders_of(paths)
        if why := why_too_many(paths, folders):
            raise ValueError(why)
        for file in self.files:
            if why := why_no_path(file.path):
                raise ValueError(f"unsafe path {file.path!r:.200}: {why}")
            if file.path in folders:
                raise ValueError(f"'{file.path:.200}' is a file and a folder")
            if bool(file.object) == bool(file.weights):
                raise ValueError(f"'{file.path:.200}' is not kept in one way")
            if file.weights and file.size < sum(t.nbytes for t in file.weights.tensors):
                raise ValueError(f"'{file.path:.200}' is smaller than its tensors")


def is_snapshot(data: bytes) -> bool:
    """Whether the bytes of a document beside manifests are those of a snapshot."""
    return data.startswith(BEGINNING)


def folders_of(paths: Iterable[str]) -> set[str]:
    """The folders that files are in, each made once, however many files and folders are in it."""
    folders: set[str] = set()
    for path in paths:
        above = path.rpartition("/")[0]
        while above and above not in folders:
            folders.add(above)
            above = above.rpartition("/")[0]
    return folders


def why_too_many(paths: Collection[str], folders: Collection[str]) -> str | None:
    """Why a repository cannot have so many files and folders; None if it can."""
    if len(paths) > SNAPSHOT_FILES:
        return f"there are more than {SNAPSHOT_FILES:,} files"
    if sum(map(len, paths)) + sum(map(len, folders)) > SNAPSHOT_PATH_LETTERS:
        return (
            f"the paths of all files and folders have more than {SNAPSHOT_PATH_LETTERS:,} letters"
        )
    return None


def why_no_path(path: str) -> str | None:
    """Why no file of a repository may have that path; None if one may.

    A path is a key in a document, but clients make files of it.
    """
    if len(path.encode(errors="replace")) > PATH_BYTES:
        return f"it has more than {PATH_BYTES} bytes"
    if path.count("/") > PATH_FOLDERS:
        return f"it is in more than {PATH_FOLDERS} folders"
    if UNSHOWN.search(path):
        return "it has a control character, or one that turns text around"
    for part in path.split("/"):
        if not is_file_name(part):
            return "a part of it is empty, a dot or two, or has a character that no name has"
        if len(part.encode()) > PART_BYTES:
            return f"a part of it has more than {PART_BYTES} bytes"
        if part.lower() == ".git":
            return "Git keeps its own files there"
    return None if unicodedata.is_normalized("NFC", path) else "it is not in Unicode's form NFC"


# Here, by one thread: what msgspec knows of a class it finds out when it first meets it.
with suppress(ValidationError):
    convert({}, Snapshot, dec_hook=as_digest)
