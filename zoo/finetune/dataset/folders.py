"""Folders of class folders, or of splits that hold class folders.

- ``flowers/daisy/1.jpg``: each folder in the first one is a class; images may lie deeper in it.
- ``flowers/train/daisy/1.jpg``: if all folders are called as splits are (`PART_NAMES`), they are
  given splits, and what is in them are classes.

Class names are in the order of `natural_sort`. Files and folders whose names begin
with a dot are not looked at. A class folder may be a link, as may images; links to folders further
in are not followed, so there are no loops.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from zoo.backbones.image_files import SUFFIXES, image_files
from zoo.errors import InvalidData
from zoo.finetune.dataset.images import FileImages
from zoo.finetune.dataset.listing import PART_NAMES, Listing, Row, natural_sort
from zoo.finetune.dataset.misplaced import folders_in, one_above

__all__ = ["list_folders"]

OTHERS = frozenset({".avif", ".gif", ".heic", ".jfif", ".jp2", ".jpe", ".pgm", ".tga"})
"""What people take for images, too."""


def list_folders(root: Path) -> Listing:
    """List the images below ``root`` with the class that their folder names.

    Raises:
        InvalidData: It holds no folder, or two for the same split.
    """
    folders = folders_in(root)
    if not folders:
        problem, hint = one_above(root)
        raise InvalidData(root, [problem], hint=hint)
    if not all(folder.name.lower() in PART_NAMES for folder in folders):
        return _listing(root, {"": root})
    parts: dict[str, Path] = {}
    for folder in folders:
        part = PART_NAMES[folder.name.lower()]
        if part in parts:
            names = f"'{parts[part].name}' and '{folder.name}'"
            raise InvalidData(root, [f"{names} are both the {part} split"])
        parts[part] = folder
    return _listing(root, parts)


def _listing(root: Path, parts: dict[str, Path]) -> Listing:
    rows: list[Row] = []
    classes: set[str] = set()
    problems: list[str] = []
    for part, top in parts.items():
        before = len(rows) + len(problems)
        for folder in folders_in(top):
            problem = _unfit(folder, top)
            if problem:
                problems.append(f"class folder {folder.name!a} {problem}")
                continue
            classes.add(folder.name)
            rows += [
                Row(key=path.relative_to(root).as_posix(), label=folder.name, part=part)
                for path in image_files(folder)
            ]
        if part and len(rows) + len(problems) == before:
            # Another split must not be drawn in its place: somebody meant this one.
            problems.append(
                f"'{top.name}' is the {part} split, but has no image of a class: put the images "
                f"of each class in a folder ({top.name}/CLASS/…), or take '{top.name}' away"
            )
    return Listing(
        task="classification",
        classes=natural_sort(classes),
        rows=tuple(rows),
        images=FileImages(root),
        cache_key=str(root.resolve()),
        problems=tuple(problems),
        remarks=tuple(_passed_over(root, {row.key for row in rows})),
    )


def _passed_over(root: Path, taken: Collection[str]) -> Iterator[str]:
    """A remark on what looks like images and is not taken, if there is any."""
    paths = (path.relative_to(root).as_posix() for path in image_files(root, SUFFIXES | OTHERS))
    if skipped := [path for path in paths if path not in taken]:
        yield (
            f"{len(skipped)} image files are skipped, such as '{skipped[0]}': images lie in class "
            f"folders, and are {', '.join(sorted(SUFFIXES))}"
        )


def _unfit(folder: Path, top: Path) -> str:
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    if folder.is_symlink() and top.resolve().is_relative_to(folder.resolve()):
        return "is a link to a folder that it lies in"
    return ""
