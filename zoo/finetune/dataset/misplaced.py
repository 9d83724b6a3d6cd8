"""Where the class folders are, if they are not in the folder that was given: above, or below."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from shlex import quote

from zoo.backbones.image_files import SUFFIXES
from zoo.finetune.dataset.listing import PART_NAMES, natural_sort

__all__ = ["LAYOUT", "folders_in", "one_above", "one_below"]

LAYOUT = (
    "put the images of each class in a folder of its own (DATA/daisy/1.jpg, DATA/rose/2.jpg),\n"
    "or list them in a table (a CSV with the columns path and label) and give that: --data DATA.csv"
)
"""What to do where there are no class folders."""

DEEPEST = 3
LOOKED_AT = 1000
"""So many entries of a folder are looked at for an image: what is found is a hint only."""
SHOWN = 4


def one_below(root: Path) -> tuple[str, str]:
    """What a folder further in holds, and the advice to give that one; empty if it would not do."""
    inner = _below(root, DEEPEST)
    if inner is None:
        return "", ""
    names = [folder.name for folder in folders_in(inner)]
    kind = "the splits" if _are_splits(names) else "folders"
    contents = f"'{inner.relative_to(root).as_posix()}' in it holds {kind} {_listed(names)}"
    return contents, f"if these are meant, give that folder: --data {quote(str(inner))}"


def one_above(root: Path) -> tuple[str, str]:
    """What a folder without class folders holds, and what to do about it."""
    images = sum(1 for _ in _images(root))
    if not images:
        return "no class folders: it holds neither folders nor images", LAYOUT
    counted = "one image" if images == 1 else f"{images} images" if images < LOOKED_AT else "images"
    problem = f"no class folders: it holds {counted}, and no folder"
    outer = _above(root)
    if outer is None:
        return problem, LAYOUT
    return problem, (
        f"if '{_name(root)}' is one class of several, give the folder above: "
        f"--data {quote(str(outer))}\nelse {LAYOUT}"
    )


def folders_in(root: Path) -> list[Path]:
    """Its folders, sorted, without hidden ones."""
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")


def _below(root: Path, levels: int) -> Path | None:
    """The one folder that can be meant: the others in its place have nothing to learn from."""
    folders = _readable(root)
    outer = [folder for folder in folders if _readable(folder)]
    if len(outer) != 1 or not levels or any(_has_image(each) for each in {*folders} - {*outer}):
        return None
    inner = _readable(outer[0])
    if _are_splits([folder.name for folder in inner]) or sum(map(_has_image, inner)) > 1:
        return outer[0]
    return _below(outer[0], levels - 1)


def _above(root: Path) -> Path | None:
    """The folder that ``root`` is a class of, or the one with its splits."""
    if _name(root).lower() in PART_NAMES:
        return None  # the folder above has splits, and they have no classes either
    outer = root.parent if root.name not in ("", "..") else root.resolve().parent
    others = [folder for folder in _readable(outer) if folder.name != _name(root)]
    if not any(map(_has_image, others)):
        return None
    whole = outer.parent if outer.name else outer.resolve().parent
    splits = [folder.name for folder in _readable(whole)]
    return whole if len(splits) > 1 and _are_splits(splits) else outer


def _readable(root: Path) -> list[Path]:
    try:
        return folders_in(root)
    except OSError:
        return []


def _has_image(folder: Path) -> bool:
    return any(_images(folder))


def _images(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in islice(entries, LOOKED_AT):
                if entry.name[0] != "." and Path(entry.name).suffix.lower() in SUFFIXES:
                    yield entry.name
    except OSError:
        return


def _are_splits(names: list[str]) -> bool:
    return bool(names) and all(name.lower() in PART_NAMES for name in names)


def _name(root: Path) -> str:
    return root.name if root.name not in ("", "..") else root.resolve().name


def _listed(names: list[str]) -> str:
    shown = ", ".join(natural_sort(names)[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
