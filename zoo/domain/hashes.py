"""Hashes of files as others state them: SHA-256, and Git's own."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["git_hash", "git_hasher", "sha256"]

PIECE = 1 << 20


def sha256(file: BinaryIO) -> str:
    """The SHA-256 of all bytes of a file, as hex digits."""
    return _fed(hashlib.sha256(), file)


def git_hash(file: BinaryIO) -> str:
    """What Git calls the bytes of a file, which a hub states of small ones."""
    return _fed(git_hasher(os.fstat(file.fileno()).st_size), file)


def git_hasher(size: int) -> _Hash:
    """What makes that hash of a file of ``size`` bytes, fed with these."""
    return hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)


def _fed(hasher: _Hash, file: BinaryIO) -> str:
    file.seek(0)
    while piece := file.read(PIECE):
        hasher.update(piece)
    return hasher.hexdigest()
