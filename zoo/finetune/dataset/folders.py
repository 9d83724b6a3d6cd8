"""Folders of class folders, or of splits that hold class folders.

- ``flowers/daisy/1.jpg``: each folder in the first one is a class; images may lie deeper in it.
- ``flowers/train/daisy/1.jpg``: if all folders are called as splits are (`PART_NAMES`), they are
  given splits, and what is in them are classes.

Class names are in the order of `natural_sort`. Files and folders whose names begin with a dot are
not looked at, nor is what zoo has written: a zoo, runs, reports. A class folder may be a link, as
may images; links to folders further in are not followed, so there are no loops.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from shlex import quote

from zoo.backbones.image_files import SUFFIXES, image_files, not_own, own_in_words
from zoo.domain.words import plural, up_to
from zoo.errors import InvalidData
from zoo.finetune.dataset.dataset import PART_NAMES, Listing, Row, natural_sort
from zoo.finetune.dataset.images import FileImages
from zoo.finetune.dataset.spec import LAYOUT

__all__ = ["list_folders", "one_below", "split_beside"]

OTHERS = frozenset({".heic", ".pgm", ".tga"})
"""What people take for images, too."""
DEEPEST = 3
LOOKED_AT = 1000
"""So many entries of a folder are looked at for an image: what is found is a hint only."""
SHOWN = 4


def list_folders(root: Path) -> Listing:
    """List the images below ``root`` with the class that their folder names.

    Raises:
        InvalidData: It holds no folder, two for a split, or datasets or splits among classes.
    """
    folders = folders_in(root)
    if not folders:
        problem, hint = one_above(root)
        raise InvalidData(root, [problem], hint=hint)
    if not all(_is_split(folder) for folder in folders):
        _check_are_classes(root, folders)
        return _listing(root, {"": root})
    parts: dict[str, Path] = {}
    for folder in folders:
        part = PART_NAMES[folder.name.lower()]
        if part in parts:
            names = f"'{parts[part].name}' and '{folder.name}'"
            raise InvalidData(root, [f"{names} are both the {part} split"])
        parts[part] = folder
    return _listing(root, parts)


def _check_are_classes(root: Path, folders: list[Path]) -> None:
    """See that no folder is a dataset, nor a split, whose training and test images would be taken
    for those of classes. Of a dataset that is alone there `one_below` tells.

    Raises:
        InvalidData: One is.
    """
    datasets = [folder for folder in folders if _are_splits_of_classes(_readable(folder))]
    if datasets and _below(root, DEEPEST) is None:
        inner = {each.name for folder in datasets for each in _readable(folder)}
        what = f"splits ({', '.join(natural_sort(inner))}) in {_names(datasets)}"
        raise InvalidData(
            root,
            [f"{what}: each is a dataset of its own, not a class"],
            hint=f"give one of them: {quote(str(datasets[0]))}",
        )
    splits = [folder for folder in folders if _is_split(folder)]
    if len(splits) > 1 and _are_splits_of_classes(splits):
        others = _names([folder for folder in folders if folder not in splits])
        raise InvalidData(
            root,
            [f"{others} beside the splits {_names(splits)}: these would be classes, too"],
            hint=f"move {others} elsewhere",
        )


def _names(folders: list[Path]) -> str:
    names = natural_sort(folder.name for folder in folders)
    return up_to([f"'{name}'" for name in names], SHOWN)


def _is_split(folder: Path) -> bool:
    return folder.name.lower() in PART_NAMES


def _are_splits_of_classes(folders: list[Path]) -> bool:
    return bool(folders) and all(_is_split(each) and _readable(each) for each in folders)


def split_beside(root: Path) -> str:
    """What to say where ``root`` is one split of several, of which new ones are drawn; empty if it
    is none.
    """
    whole = root.absolute().resolve() if root.name in ("", "..") else root.absolute()
    if not _is_split(whole):
        return ""
    splits = [each for each in _readable(whole.parent) if _is_split(each) and each != whole]
    if not _are_splits_of_classes(splits):
        return ""
    outer = root.parent if root.name not in ("", "..") else whole.parent
    return (
        f"new splits are drawn from '{whole.name}' alone, without {_names(splits)} beside it: "
        f"--data {quote(str(outer))} takes them as they are"
    )


def _listing(root: Path, parts: dict[str, Path]) -> Listing:
    rows: list[Row] = []
    classes: set[str] = set()
    problems: list[str] = []
    for part, top in parts.items():
        before = len(rows) + len(problems)
        for folder in folders_in(top):
            if problem := _unfit(folder, top):
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
    taken = {row.key for row in rows}
    own: list[Path] = []
    files = image_files(root, SUFFIXES | OTHERS, own)
    paths = [path.relative_to(root).as_posix() for path in files]
    remarks = [text] if (text := own_in_words(own, root)) else []
    if skipped := [path for path in paths if path not in taken]:
        images = f"images lie in class folders, and are {', '.join(sorted(SUFFIXES))}"
        count = plural(len(skipped), "image file is", "image files are")
        remarks += [f"{count} skipped, such as '{skipped[0]}': {images}"]
    return Listing(
        task="classification",
        classes=natural_sort(classes),
        rows=tuple(rows),
        images=FileImages(root),
        cache_key=str(root.resolve()),
        problems=tuple(problems),
        remarks=tuple(remarks),
    )


def _unfit(folder: Path, top: Path) -> str:
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    if folder.is_symlink() and top.resolve().is_relative_to(folder.resolve()):
        return "is a link to a folder that it lies in"
    return ""


def one_below(root: Path) -> tuple[str, str]:
    """What a folder further in holds, and the advice to give that one; empty if it would not do."""
    inner = _below(root, DEEPEST)
    if inner is None:
        return "", ""
    names = [folder.name for folder in folders_in(inner)]
    kind = "the splits" if _are_splits(names) else "folders"
    shown = up_to(natural_sort(names), SHOWN)
    contents = f"'{inner.relative_to(root).as_posix()}' in it holds {kind} {shown}"
    return contents, f"if these are meant, give that folder: {quote(str(inner))}"


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
        f"{quote(str(outer))}\nelse {LAYOUT}"
    )


def folders_in(root: Path) -> list[Path]:
    """Its folders, sorted, without hidden ones and those that zoo has written."""
    names = not_own(root, [path.name for path in root.iterdir() if path.is_dir()])
    return [root / name for name in names]


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
