"""Copying: a store's files go to another place, a bucket or a folder, while it is written to.

What is copied first never needs what was made after it: logs of names come before what they lead
to. Whoever writes goes the other way.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from zoo.contracts import Backend
from zoo.domain.limits import JSON_FILE_BYTES
from zoo.domain.stored import StoredFile
from zoo.errors import InvalidOption
from zoo.serve.who.seals import MARK
from zoo.store.capabilities import at_once, read_small, sync
from zoo.store.refs import MARKER
from zoo.workspace import ID

__all__ = ["FIRST", "UNFINISHED", "check_place", "copy_store", "named"]

FIRST = ("refs", "manifests", "encoded-manifests", "encoded", "objects")
FOLDERS = (*FIRST, "pruned", "signatures", "views")
FILES = (ID, MARKER, MARK)
"""Which zoo it is, which format it has, and whose seals are good."""
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


def copy_store(source: Backend, to: Backend) -> list[int]:
    """Copy a store's files, of which those that are there already are left as they are, and nothing
    is deleted; the bytes of each that was copied. In an upload to the source, so that no prune
    deletes what is to be copied.
    """
    sizes = list[int]()
    copied = partial(_copied, source, to)
    with ThreadPoolExecutor(max(at_once(source), at_once(to))) as pool:
        for folder in ("", *FOLDERS):
            sizes += [size for size in pool.map(copied, _new(source, to, folder)) if size >= 0]
    sync(to)
    return sizes


def _new(source: Backend, to: Backend, folder: str) -> Iterator[StoredFile]:
    if not folder:  # the first: it tells whose copy it is, if this one does not get further
        yield from filter(None, map(source.stat, FILES))
        return
    there = {file.name: file for file in to.list(f"{folder}/")}
    for file in source.list(f"{folder}/"):
        known = there.get(file.name)
        if known is None or known.bytes != file.bytes or known.at < file.at:
            yield file


def _copied(source: Backend, to: Backend, file: StoredFile) -> int:
    """Copy a file; its bytes, -1 if it is gone by now."""
    with suppress(FileNotFoundError):
        to.put(file.name, source.open(file.name))
        return file.bytes
    return -1
