"""Copying: a store's files go to another place, a bucket or a folder, while it is written to.

What is copied first never needs what was made after it: logs of names come before what they lead
to. Whoever writes goes the other way. What never changes where it is made is never replaced in a
copy by something else: entries of names, and what is named by its digest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from shlex import quote

from blake3 import blake3

from zoo.contracts import Backend
from zoo.domain.digest import Digest
from zoo.domain.limits import ENTRY_BYTES, JSON_FILE_BYTES
from zoo.domain.stored import StoredFile
from zoo.errors import Conflict, Corrupt, Invalid, InvalidOption, MissingObject, Unsupported
from zoo.serve.who.seals import MARK
from zoo.store import Store
from zoo.store.capabilities import at_once, read_small, sync
from zoo.store.encoded import read_encoded
from zoo.store.kept import digest_in
from zoo.store.manifests import decode_manifest
from zoo.store.refs import MARKER
from zoo.workspace import ID

__all__ = [
    "FILES",
    "FOLDERS",
    "UNFINISHED",
    "check_names",
    "check_place",
    "copy_store",
    "named",
    "tell_damaged",
]

REFS = "refs"
ENCODED = ("encoded", "encoded-manifests")
CONTENT = ("manifests", *ENCODED, "objects")
"""What is named by its digest."""
FOLDERS = (REFS, "manifests", *ENCODED[::-1], "objects", "pruned", "signatures", "views")
FILES = (ID, MARKER, MARK)
"""Which zoo it is, which format it has, and whose seals are good."""
TOLD = 10
"""Damaged files that are told by name."""
UNFINISHED = "unfinished.txt"
"""What tells, in a place that is copied to, of what it is a copy, until it is whole."""


def named(source: Backend) -> bytes:
    """Which zoo a source is, and where."""
    zoo = read_small(source, ID, JSON_FILE_BYTES) if source.stat(ID) else b""
    return f"{source}\n".encode() + zoo


def check_place(source: Backend, to: Backend) -> None:
    """See that a place is empty, or has what a copy of the same source left that was cut off. One
    that is whole may be served by now: what was deleted there must not come back.

    Raises:
        InvalidOption: It has something else.
    """
    if next(iter(to.list("")), None) is None:
        return
    if not to.stat(UNFINISHED) or read_small(to, UNFINISHED, JSON_FILE_BYTES) != named(source):
        raise InvalidOption(f"{to} has something else: name a place where nothing is yet")


def check_names(source: Backend, to: Backend) -> None:
    """See that the names of a place are those of the store, as they are or were.

    Raises:
        Conflict: A name went on there by itself.
    """
    there = {file.name for file in to.list(f"{REFS}/")}
    common = {file.name for file in source.list(f"{REFS}/")} & there
    # An entry has the digest of the one before and the time: those before the same are the same.
    newest = {key.rpartition("/")[0]: key for key in sorted(common)}
    with ThreadPoolExecutor(max(at_once(source), at_once(to))) as pool:
        deque(pool.map(partial(_check_entry, source, to), newest.values()), maxlen=0)


def _check_entry(source: Backend, to: Backend, key: str) -> None:
    mine, theirs = (read_small(backend, key, ENTRY_BYTES) for backend in (source, to))
    if mine != theirs:
        raise Conflict(
            f"{to} has another {key}: its names went on by themselves",
            hint="no name there was changed; copy to an empty place",
        )


def copy_store(source: Backend, to: Backend, damaged: list[str]) -> list[int]:
    """Copy a store's files, of which those that are there already are left as they are, and nothing
    is deleted; the bytes of each that was copied. In an upload to the source, so that no prune
    deletes what is to be copied.

    Objects and manifests are hashed on the way: those that are ``damaged`` are not copied, and
    what an earlier copy has of them stays. What is encoded is decoded where the two sizes differ.

    Raises:
        Conflict: An entry of a name that is not in the copy was made there meanwhile.
    """
    sizes = list[int]()
    with ThreadPoolExecutor(max(at_once(source), at_once(to))) as pool:
        for folder in ("", *FOLDERS):
            copied = partial(_copied, source, to, folder, damaged)
            sizes += [size for size in pool.map(copied, _new(source, to, folder)) if size >= 0]
    sync(to)
    return sizes


def tell_damaged(source: Backend, to: Backend, damaged: list[str]) -> None:
    """End a copy with the files that could not be copied.

    Raises:
        Corrupt: There are some.
    """
    if not damaged:
        return
    names = ", ".join(sorted(damaged)[:TOLD])
    more = ", …" if len(damaged) > TOLD else ""
    what = names if len(damaged) == 1 else f"each of {len(damaged)} files ({names}{more})"
    error = Corrupt(what, "what its name says", "other bytes", str(source))
    error.hint = (
        "all else was copied, and what an earlier copy has of it stays; what is there is brought "
        f"back by zoo verify --repair --from {quote(str(to))}"
    )
    raise error


def _new(source: Backend, to: Backend, folder: str) -> Iterator[tuple[StoredFile, bool]]:
    """What is to be copied, and whether something else is there."""
    if not folder:  # the first: it tells whose copy it is, if this one does not get further
        yield from ((file, False) for file in map(source.stat, FILES) if file)
        return
    there = {file.name: file for file in to.list(f"{folder}/")}
    for file in source.list(f"{folder}/"):
        known = there.get(file.name)
        if known is None:
            yield file, False
        elif folder != REFS and (
            known.bytes != file.bytes or (folder not in CONTENT and known.at < file.at)
        ):
            yield file, True


def _copied(
    source: Backend, to: Backend, folder: str, damaged: list[str], new: tuple[StoredFile, bool]
) -> int:
    """Copy a file; its bytes, -1 if it is gone by now, or damaged."""
    file, there = new
    with suppress(FileNotFoundError):
        if folder == REFS:
            if not to.create(file.name, read_small(source, file.name, ENTRY_BYTES)):
                _check_entry(source, to, file.name)
            return file.bytes
        try:
            if there and folder in ENCODED:
                _decode(source, folder, file.name)
            pieces = source.open(file.name)
            to.put(file.name, _hashed(file.name, pieces) if folder in CONTENT else pieces)
        except (Corrupt, Invalid, Unsupported):
            if folder not in CONTENT:
                raise
            damaged.append(file.name)
        else:
            return file.bytes
    return -1


def _hashed(key: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same pieces, and an error after the last one, by which a `put` keeps none of them, if
    they are not what the key says. What is encoded passes.
    """
    digest, hasher = digest_in(key), blake3()
    for piece in pieces:
        if digest:
            hasher.update(piece)
        yield piece
    if digest and hasher.hexdigest() != digest:
        raise Corrupt(key, digest, hasher.hexdigest())


def _decode(source: Backend, folder: str, key: str) -> None:
    """Read something encoded to its end, which hashes it."""
    digest = Digest("blake3", key.rpartition("/")[2].partition(".")[0])
    try:
        if folder == "encoded":
            deque(read_encoded(Store(source), digest), maxlen=0)
        else:
            decode_manifest(Store(source), digest)
    except MissingObject as error:  # what it is a difference from
        raise Corrupt(key, str(digest), "an encoding that needs what is not there") from error
