"""Git: the ids that Git gives to files, folders and commits.

Clients of the hub name caches by them, and compare them with the bytes that they have.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime

__all__ = ["blob_id", "commit_id", "pointer", "tree_ids"]

UNFIT = re.compile(r"[<>\x00-\x1f\x7f]")
"""What cannot be in the name of an author."""


def blob_id(data: bytes) -> str:
    """The id of a file."""
    return _id("blob", data)


def pointer(sha256: str, size: int) -> bytes:
    """What Git keeps in the place of a large file (Git LFS)."""
    spec = "https://git-lfs.github.com/spec/v1"
    return f"version {spec}\noid sha256:{sha256}\nsize {size}\n".encode()


def tree_ids(files: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The ids of all folders of these files, which have a path and an id each; the outermost is
    called by an empty path.
    """
    # What each folder has; the names of folders are sorted as if they ended with a slash.
    entries: dict[str, list[tuple[bytes, bytes]]] = {"": []}
    for path, file in files:
        folder, _, name = path.rpartition("/")
        above = folder
        while above not in entries:
            entries[above] = []
            above = above.rpartition("/")[0]
        entries[folder].append((name.encode(), _entry("100644", name, file)))
    ids: dict[str, str] = {}
    for folder in sorted(entries, key=lambda path: -len(path.split("/")) if path else 1):
        ids[folder] = _id("tree", b"".join(entry for _, entry in sorted(entries[folder])))
        if folder:
            above, _, name = folder.rpartition("/")
            entries[above].append((f"{name}/".encode(), _entry("40000", name, ids[folder])))
    return ids


def _entry(mode: str, name: str, file: str) -> bytes:
    return f"{mode} {name}\0".encode() + bytes.fromhex(file)


def commit_id(tree: str, parent: str | None, author: str, at: datetime, message: str) -> str:
    """The id of a commit."""
    name = UNFIT.sub("", author).strip() or "unknown"
    who = f"{name} <> {int(at.timestamp())} +0000"
    lines = [f"tree {tree}", *([f"parent {parent}"] if parent else [])]
    lines += [f"author {who}", f"committer {who}", "", f"{message}\n"]
    return _id("commit", "\n".join(lines).encode())


def _id(kind: str, data: bytes) -> str:
    # What Git uses; nothing here relies on it where somebody may choose the bytes.
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()
