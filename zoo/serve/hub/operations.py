"""Operations: what a commit does with the files of a repository, read line by line as it comes."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

import msgspec

from zoo.domain.limits import COMMIT_BYTES, COMMIT_LINE_BYTES, COMMIT_LINES, MESSAGE_BYTES
from zoo.domain.snapshot import SnapshotFile, folders_of, why_no_path, why_too_many
from zoo.serve.http.errors import Refused
from zoo.serve.keep.view import is_large

__all__ = ["Deletion", "Operations", "Tree", "applied", "read_operations"]

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
SHA256 = re.compile("[0-9a-f]{64}")
Tree = dict[str, SnapshotFile]
"""The files of a repository, by their paths."""
T = TypeVar("T")


class _Line(msgspec.Struct, frozen=True):
    key: str
    value: msgspec.Raw


class _Header(msgspec.Struct, frozen=True):
    summary: str = ""
    description: str = ""
    parentCommit: str | None = None  # noqa: N815 - as clients write it


class _File(msgspec.Struct, frozen=True):
    path: str
    content: str
    encoding: str = "utf-8"


class _LargeFile(msgspec.Struct, frozen=True):
    path: str
    oid: str
    algo: str = "sha256"
    size: int | None = None


class _Deleted(msgspec.Struct, frozen=True):
    path: str


@dataclass(frozen=True, slots=True)
class Deletion:
    """That a file, or a ``folder`` with all in it, goes."""

    path: str
    folder: bool


@dataclass(kw_only=True)
class Operations:
    """A commit as it was sent.

    Attributes:
        message: A title and, after an empty line, what else is said.
        parent: The commit that it is to follow; empty if any.
        each: What it does, in order.
    """

    message: str = ""
    parent: str = ""
    each: list[SnapshotFile | Deletion] = field(default_factory=list)


# Made here, by one thread: what msgspec knows of a class it finds out when it first meets it.
LINE = msgspec.json.Decoder(_Line)
HEADER = msgspec.json.Decoder(_Header)
FILE = msgspec.json.Decoder(_File)
LARGE_FILE = msgspec.json.Decoder(_LargeFile)
DELETED = msgspec.json.Decoder(_Deleted)


def read_operations(
    pieces: Iterable[bytes],
    *,
    add: Callable[[bytes], SnapshotFile],
    find: Callable[[str], SnapshotFile | None],
) -> Operations:
    """Read a commit. Each small file is handed to ``add`` as it comes, and ``find`` has those that
    were sent before, by their SHA-256.

    Raises:
        Refused: It is malformed or too large, or names a file that is not here for who asks.
    """
    done = Operations()
    for number, line in enumerate(_lines(pieces)):
        if number > COMMIT_LINES:
            raise Refused("TooLarge", f"a commit has at most {COMMIT_LINES:,} files here")
        entry = _decoded(LINE, line)
        if entry.key == "header":
            _read_header(_decoded(HEADER, entry.value), done)
        elif entry.key == "file":
            done.each.append(_small(_decoded(FILE, entry.value), add))
        elif entry.key == "lfsFile":
            done.each.append(_large(_decoded(LARGE_FILE, entry.value), find))
        elif entry.key in ("deletedFile", "deletedFolder", "deletedEntry"):
            path, folder = _decoded(DELETED, entry.value).path, entry.key == "deletedFolder"
            done.each.append(Deletion(_checked(path.rstrip("/") if folder else path), folder))
        else:
            raise Refused(
                "BadRequest", f"line {number + 1} is of the unknown kind {entry.key!r:.40}"
            )
    if not done.message:
        raise Refused("BadRequest", "the commit has no header")
    return done


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a body, none of which is empty."""
    rest, total = bytearray(), 0
    for piece in pieces:
        total += len(piece)
        if total > COMMIT_BYTES:
            raise Refused("TooLarge", f"a commit has at most {COMMIT_BYTES:,} bytes here")
        *whole, last = piece.split(b"\n")
        for line in whole:
            rest += line
            if rest.strip():
                yield bytes(rest)
            rest.clear()
        rest += last
        if len(rest) > COMMIT_LINE_BYTES:
            raise Refused("TooLarge", f"a line has at most {COMMIT_LINE_BYTES:,} bytes here")
    if rest.strip():
        yield bytes(rest)


def _decoded(decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Refused("BadRequest", f"a line of the commit cannot be read: {error}") from None


def _read_header(header: _Header, done: Operations) -> None:
    title = " ".join(header.summary.split()) or "Upload"
    text = CONTROL.sub(" ", f"{title}\n\n{header.description.strip()}").strip()
    done.message = text.encode(errors="replace")[:MESSAGE_BYTES].decode(errors="ignore")
    done.parent = header.parentCommit or ""


def _small(file: _File, add: Callable[[bytes], SnapshotFile]) -> SnapshotFile:
    try:
        if file.encoding == "base64":
            data = b64decode(file.content, validate=True)
        elif file.encoding == "utf-8":
            data = file.content.encode()
        else:
            raise Refused("BadRequest", f"unknown encoding {file.encoding!r:.40}")
    except (binascii.Error, ValueError) as error:
        raise Refused("BadRequest", f"'{file.path:.200}' is not in its encoding: {error}") from None
    path = _checked(file.path)
    return _placed(add(data), path)


def _large(file: _LargeFile, find: Callable[[str], SnapshotFile | None]) -> SnapshotFile:
    path = _checked(file.path)
    if file.algo != "sha256" or not SHA256.fullmatch(file.oid):
        raise Refused("BadRequest", f"'{path}' has no SHA-256")
    stored_file = find(file.oid)
    if stored_file is None or file.size not in (None, stored_file.size):
        raise Refused("BadRequest", f"the bytes of '{path}' were not sent: {file.oid}")
    return _placed(stored_file, path)


def _placed(file: SnapshotFile, path: str) -> SnapshotFile:
    # Git keeps a pointer in the place of a large one, whichever way it was sent.
    return replace(file, path=path, git=None if is_large(path, file.size) else file.git)


def _checked(path: str) -> str:
    if why := why_no_path(path):
        raise Refused("BadRequest", f"'{path:.200}' cannot be a file here: {why}")
    return path


def applied(operations: Iterable[SnapshotFile | Deletion], tree: Tree) -> Tree:
    """The files after operations on those of ``tree``.

    Raises:
        Refused: A file that is to be deleted is not there, or one is a folder, too, or they are too
            many.
    """
    files = dict(tree)
    for each in operations:
        if isinstance(each, SnapshotFile):
            files[each.path] = each
            continue
        below = f"{each.path}/"
        gone = [path for path in files if path.startswith(below)] if each.folder else []
        gone += [each.path] if not each.folder and each.path in files else []
        if not gone:
            what = "folder" if each.folder else "file"
            text = f"A {what} with this name doesn't exist: {each.path}"
            raise Refused("EntryNotFound", text)
        for path in gone:
            del files[path]
    folders = folders_of(files)
    if why := why_too_many(files, folders):
        raise Refused("BadRequest", f"{why}, which is the most here")
    if both := folders & files.keys():
        raise Refused("BadRequest", f"'{min(both)}' would be a file and a folder")
    return files
