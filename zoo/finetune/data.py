"""Images in class folders, checked, split, and turned into batches."""

from __future__ import annotations

import os
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from blake3 import blake3
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from zoo.backbones.preprocess import read_image
from zoo.domain.progress import Progress
from zoo.errors import InvalidData, InvalidImage

__all__ = ["Folders", "ImageSet", "Split", "loader", "read_folders", "split"]

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
MEMORY = 1 << 30
"""Bytes of decoded images that are kept rather than read again each epoch."""


@dataclass(frozen=True, slots=True)
class Folders:
    """A dataset of class folders.

    Attributes:
        root: Where it is.
        classes: Class names in index order: folder names sorted as people count, 2 before 10.
        samples: Paths relative to ``root`` with class indices, sorted.
        digest: BLAKE3 over every path and the bytes of every image.
    """

    root: Path
    classes: tuple[str, ...]
    samples: tuple[tuple[str, int], ...]
    digest: str


def read_folders(root: Path, progress: Progress) -> Folders:
    """Find the images below the folders of ``root``, and open each one.

    Raises:
        InvalidData: Listing all of: no class folder or one only, a class with no or one image,
            unreadable images.
    """
    if not root.is_dir():
        raise InvalidData(root, ["is a file, not a folder" if root.exists() else "no such folder"])
    folders = sorted(
        (path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")),
        key=lambda path: _counted(path.name),
    )
    if not folders:
        raise InvalidData(root, ["no class folders: put the images of each class in a folder"])
    if all(folder.name.lower() in SPLITS for folder in folders):
        names = ", ".join(folder.name for folder in folders)
        raise InvalidData(root, [f"it holds splits ({names}), not classes: name one of them"])
    samples = [
        (path.relative_to(root).as_posix(), index)
        for index, folder in enumerate(folders)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    counts = Counter(index for _, index in samples)
    problems = ["one class only: there is nothing to tell apart"] if len(folders) == 1 else []
    for index, folder in enumerate(folders):
        if counts[index] < 2:
            what = "no image" if not counts[index] else "one image; training and test need one each"
            problems.append(f"class '{folder.name}' has {what}")
    digest = _check_images(root, samples, problems, progress)
    if problems:
        raise InvalidData(root, problems)
    return Folders(root, tuple(folder.name for folder in folders), tuple(samples), digest)


def _check_images(
    root: Path, samples: Sequence[tuple[str, int]], problems: list[str], progress: Progress
) -> str:
    hasher = blake3()
    with progress("checking images", len(samples)) as task:
        for name, _ in samples:
            path = root / name
            try:
                read_image(path)  # decoded whole: a header says nothing of a truncated file
                hasher.update(f"{name}\0{blake3(path.read_bytes()).hexdigest()}\n".encode())
            except InvalidImage as error:
                problems.append(f"{name} {error.reason}")
            except Exception as error:  # noqa: BLE001 - decoders raise whatever they like
                problems.append(f"{name} is not a readable image ({type(error).__name__})")
            task.advance()
    return f"blake3:{hasher.hexdigest()}"


def _counted(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key in which digits count: ``2`` before ``10``."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


class Split(NamedTuple):
    """Indices of training and of held-out samples."""

    train: list[int]
    test: list[int]


def split(folders: Folders, share: float, seed: int) -> Split:
    """Hold out ``share`` of each class, at least one sample and not all."""
    by_class: dict[int, list[int]] = defaultdict(list)
    for index, (_, label) in enumerate(folders.samples):
        by_class[label].append(index)
    shuffler = random.Random(seed)  # noqa: S311 - a split, not a secret
    train: list[int] = []
    test: list[int] = []
    for _, indices in sorted(by_class.items()):
        shuffler.shuffle(indices)
        held = min(max(round(len(indices) * share), 1), len(indices) - 1)
        test += indices[:held]
        train += indices[held:]
    return Split(sorted(train), sorted(test))


class ImageSet(Dataset[tuple[torch.Tensor, int]]):
    """Transformed images with labels; kept in memory once read, as far as the budget goes."""

    def __init__(
        self,
        folders: Folders,
        indices: Sequence[int],
        transform: Callable[[Image.Image], torch.Tensor],
    ) -> None:
        self.root = folders.root
        self.samples = [folders.samples[index] for index in indices]
        self.transform = transform
        self._kept: dict[int, torch.Tensor] = {}
        self._room = MEMORY

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        name, label = self.samples[index]
        if index in self._kept:
            return self._kept[index], label
        image = self.transform(read_image(self.root / name))
        if (self._room - image.nbytes) > 0:
            self._room -= image.nbytes
            self._kept[index] = image
        return image, label

    def fits(self) -> bool:
        """Whether all images fit the budget, so that worker processes would only cost time."""
        image, _ = self[0]
        return image.nbytes * len(self) < MEMORY


def loader(
    images: ImageSet, batch_size: int, *, generator: torch.Generator | None
) -> DataLoader[tuple[torch.Tensor, int]]:
    """Batches in an order drawn from ``generator``, or in file order.

    Raises (while iterating):
        InvalidImage: An image became unreadable since it was checked.
    """
    workers = 0 if images.fits() else min(4, os.cpu_count() or 1)
    return DataLoader(
        images,
        batch_size,
        shuffle=generator is not None,
        generator=generator,
        num_workers=workers,
        # Batch norm cannot take the statistics of a single image.
        drop_last=generator is not None and len(images) % batch_size == 1,
    )
