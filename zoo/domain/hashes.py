"""Hashes of files as others state them: SHA-256, and Git's own."""

from __future__ import annotations

import hashlib
import os
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["git_hash", "git_hasher", "sha256", "sha256_of"]


def sha256(file: BufferedReader) -> str:
    """The SHA-256 of all bytes of a file, as hex digits."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(path: Path) -> str:
    """The same of the file at a path."""
    with path.open("rb") as file:
        return sha256(file)


def git_hash(file: BufferedReader) -> str:
    """What Git calls the bytes of a file, which a hub states of small ones."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    return hashlib.file_digest(file, lambda: git_hasher(size)).hexdigest()


def git_hasher(size: int) -> _Hash:
    """What makes that hash of a file of ``size`` bytes, fed with these."""
    return hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
