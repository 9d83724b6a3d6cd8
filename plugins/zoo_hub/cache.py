"""What the user's own cache of the hub holds already. It is read, and never written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.file_download import repo_folder_name

from zoo.domain.catalog import SourceFile
from zoo.domain.hashes import git_hash, sha256
from zoo.errors import Unavailable

__all__ = ["cached_file", "cached_snapshot", "is_sound", "read", "snapshot_files"]

PIECE = 1 << 20

_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT = re.compile(r"[0-9a-f]{40}")


def cached_file(repo: str, commit: str, file: SourceFile) -> Path | None:
    """The cache's copy of ``file`` at ``commit``, or at another one with the same bytes, if there
    is a whole one.
    """
    cached = try_to_load_from_cache(repo, file.path, revision=commit)
    folder = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repo, repo_type="model"))
    paths = [Path(cached)] if isinstance(cached, str) else []
    for name, form in ((file.sha256, _SHA256), (file.git, _GIT)):
        if name is not None and form.fullmatch(name):
            paths.append(folder / "blobs" / name)
    # A copy of another length is damaged; the hub still has a good one.
    return next(
        (path for path in paths if path.is_file() and path.stat().st_size == file.size), None
    )


def is_sound(path: Path, file: SourceFile) -> bool:
    """Whether a cached file has the bytes that the hub states, as far as it states them."""
    with path.open("rb") as stream:
        if file.sha256 is not None:
            return sha256(stream) == file.sha256
        return file.git is None or git_hash(stream) == file.git


def cached_snapshot(repo: str, revision: str | None, weights: tuple[str, ...]) -> Path | None:
    """The folder, named by its commit, that holds one of ``weights`` at ``revision``."""
    for name in weights:
        cached = try_to_load_from_cache(repo, name, revision=revision)
        if isinstance(cached, str):
            return Path(cached).parent
    return None


def snapshot_files(folder: Path) -> tuple[SourceFile, ...]:
    """The files of a snapshot, sorted by path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(
        SourceFile(path.relative_to(folder).as_posix(), path.stat().st_size, *_digests(path))
        for path in paths
    )


def _digests(path: Path) -> tuple[str | None, str | None]:
    # Snapshots are links to blobs. A blob of large-file storage is named by its SHA-256, any other
    # by its Git hash, and where links are not possible the file has its own name.
    name = path.resolve().name
    return (name if _SHA256.fullmatch(name) else None, name if _GIT.fullmatch(name) else None)


def read(path: Path, offset: int) -> Iterator[bytes]:
    """The bytes of a cached file from ``offset`` on.

    Raises:
        Unavailable: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            while piece := file.read(PIECE):
                yield piece
    except OSError as error:
        raise Unavailable("the cache of the hub", f"{path}: {error.strerror}") from error
