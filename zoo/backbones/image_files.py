"""The image files in a folder, by their names."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from glob import glob, has_magic
from itertools import chain
from pathlib import Path

__all__ = ["SUFFIXES", "image_files", "named_images"]

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def image_files(folder: Path, suffixes: Collection[str] = SUFFIXES) -> Iterator[Path]:
    """Those in the folder and below it, sorted by folder and name.

    What is hidden is left out, and links to folders are not followed, so there are no loops.
    """
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in sorted(files):
            if name[0] != "." and Path(name).suffix.lower() in suffixes:
                yield Path(parent, name)


def named_images(paths: Iterable[Path | str]) -> Iterator[Path]:
    """Each file of ``paths``, whatever its name, and all image files of each folder; the folder
    itself if there are none. A path that is not there may be a pattern (``photos/*.jpg``).
    """
    for path in chain.from_iterable(map(_fitting, paths)):
        files = image_files(path) if path.is_dir() else iter(())
        yield next(files, path)
        yield from files


def _fitting(path: Path | str) -> list[Path]:
    if not has_magic(str(path)) or Path(path).exists():
        return [Path(path)]
    fitting = sorted(glob(str(path), recursive=True))  # noqa: PTH207 - Path's takes none from "/"
    return [Path(found) for found in fitting] or [Path(path)]
