"""The image files in a folder, by their names."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from glob import glob, has_magic
from itertools import chain
from pathlib import Path

from zoo.domain.words import up_to
from zoo.errors import InvalidImage
from zoo.store.refs import MARKER

__all__ = [
    "SUFFIXES",
    "count_images",
    "first_of",
    "image_files",
    "named_images",
    "not_own",
    "own_in_words",
    "unusable",
]

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Of the formats that are opened; within a folder they tell images from other files."""


LOG = logging.getLogger("zoo")
SHOWN = 6
OF_A_ZOO = frozenset({"cache", "manifests", "objects", "refs", "runs", "tmp", "trials"})
WRITTEN: Mapping[str, str] = {
    MARKER: "objects",
    "run.json": "metrics.jsonl",
    "report.json": "predictions.csv",
    "advice.json": "suspects.csv",
}
"""Two entries each by which a folder is known that zoo has written: a zoo or remote, the folder of
a run, of a report, of advice. There are pictures in it, and they are no data."""


def not_own(folder: Path, names: Iterable[str], own: list[Path] | None = None) -> list[str]:
    """The folders of these names in ``folder`` that are neither hidden nor written by zoo, sorted;
    the latter go to ``own``.
    """
    in_zoo = OF_A_ZOO if _is_own(folder, MARKER) else ()
    kept = []
    for name in sorted(name for name in names if name[0] != "."):
        if name in in_zoo or any(_is_own(folder / name, sign) for sign in WRITTEN):
            if own is not None:
                own.append(folder / name)
        else:
            kept.append(name)
    return kept


def _is_own(folder: Path, sign: str) -> bool:
    return (folder / sign).is_file() and (folder / WRITTEN[sign]).exists()


def own_in_words(own: Sequence[Path], folder: Path) -> str:
    """What to say of folders that were left out; nothing if there are none."""
    if not own:
        return ""
    names = [f"'{path.relative_to(folder).as_posix()}'" for path in own]
    return f"left out, as zoo has written it and it is no data: {up_to(names, SHOWN)}"


def image_files(
    folder: Path, suffixes: Collection[str] = SUFFIXES, own: list[Path] | None = None
) -> Iterator[Path]:
    """Those in the folder and below it, sorted by folder and name.

    What is hidden is left out, and so are folders that zoo has written, which go to ``own``. Links
    to folders are not followed, so there are no loops.
    """
    for parent, folders, files in os.walk(folder):
        folders[:] = not_own(Path(parent), folders, own)
        for name in sorted(files):
            if name[0] != "." and Path(name).suffix.lower() in suffixes:
                yield Path(parent, name)


def named_images(paths: Iterable[Path | str]) -> Iterator[Path]:
    """Each file of ``paths``, whatever its name, and all image files of each folder; the folder
    itself if there are none. A path that is not there may be a pattern (``photos/*.jpg``). Logs
    what was left out of a folder.
    """
    for path in chain.from_iterable(map(_fitting, paths)):
        own: list[Path] = []
        yield from _of(path, own)
        if text := own_in_words(own, path):
            LOG.warning(text)


def count_images(path: Path | str) -> int:
    """How many `named_images` gives for a path; it logs nothing."""
    return sum(1 for each in _fitting(path) for _ in _of(each))


def first_of(path: Path | str) -> Path:
    """The path, or the first that it is a pattern of."""
    return _fitting(path)[0]


def unusable(path: Path | str) -> InvalidImage | None:
    """Why a path gives no image, as far as names tell it: it, or what it is, is not there."""
    first = first_of(path)
    if not first.exists():
        return InvalidImage(first, "no such file")
    if first.is_dir() and next(image_files(first), None) is None:
        return InvalidImage(first, f"is a folder without images ({', '.join(sorted(SUFFIXES))})")
    return None


def _of(path: Path, own: list[Path] | None = None) -> Iterator[Path]:
    files = image_files(path, own=own) if path.is_dir() else iter(())
    yield next(files, path)
    yield from files


def _fitting(path: Path | str) -> list[Path]:
    if not has_magic(str(path)) or Path(path).exists():
        return [Path(path)]
    fitting = sorted(glob(str(path), recursive=True))  # noqa: PTH207 - Path's takes none from "/"
    return [Path(file) for file in fitting] or [Path(path)]
