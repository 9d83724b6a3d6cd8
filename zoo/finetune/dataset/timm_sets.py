"""Named datasets that timm opens: those of torchvision (``torch/cifar10?root=data``) and of the
Hugging Face ``datasets`` package (``hfds/beans?label=labels``).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from blake3 import blake3
from PIL import EpsImagePlugin, Image
from timm.data import create_dataset

from zoo.backbones.preprocess import read_image
from zoo.backbones.rgb import to_rgb
from zoo.domain.task import Task
from zoo.errors import InvalidData, InvalidImage, MissingPackage
from zoo.finetune.dataset.dataset import PART_NAMES, Listing
from zoo.finetune.dataset.images import EncodedImages
from zoo.finetune.dataset.named import Entry, list_entries
from zoo.finetune.dataset.spec import DatasetSpec

__all__ = ["list_hfds", "list_torch"]

Untyped: TypeAlias = Any  # a dataset of torchvision, or timm's reader of one
TRAIN_AND_VALIDATION = frozenset({"imagenet", "inat", "inaturalist", "places365"})
FOLDERS = frozenset({"folder", "image_folder"})
"""torchvision's own reader of class folders; it sorts class names as text."""


class TorchImages:
    """Implements `Images`: keys are the split and the index in it."""

    max_pixels: int | None = None

    def __init__(self, parts: Mapping[str, Untyped]) -> None:
        self.parts = parts
        for dataset in parts.values():
            if getattr(dataset, "loader", None):  # torchvision's cuts off what is above 255
                dataset.loader = self._load

    def _load(self, path: str) -> Image.Image:
        return read_image(path, self.max_pixels)

    def read(self, key: str) -> Image.Image:
        """See `Images.read`."""
        _no_ghostscript()  # here, too: a process that reads need not be a copy of who listed them
        part, _, index = key.partition("/")
        try:
            image: Image.Image = self.parts[part][int(index)][0]
            with image:  # it may be a file that nothing was read of yet
                return to_rgb(image, getattr(image, "filename", "") or key, keep=True)
        except InvalidImage as error:
            file = "" if error.path == key else f" ({error.path})"
            raise InvalidImage(key, f"{error.reason}{file}") from error
        except Exception as error:  # decoders raise whatever they like
            raise InvalidImage(key, _unreadable(error)) from error

    def check(self, key: str) -> str:
        """See `Images.check`; the bytes are those of the pixels, which is all there is."""
        image = self.read(key)
        return blake3(f"{image.size}".encode() + image.tobytes()).hexdigest()

    def file(self, key: str) -> None:
        """See `Images.file`: many images share a file, or it is not known."""


def _no_ghostscript() -> None:
    """Some datasets of torchvision open files by themselves; none of these starts Ghostscript."""
    EpsImagePlugin.gs_binary = False


def list_torch(named: DatasetSpec, task: Task | None) -> Listing:
    """List the images of the dataset's splits."""
    _no_ghostscript()
    splits = named.splits or _splits(named)
    options = named.options
    parts = {
        part or "all": create_dataset(
            f"torch/{named.name}",
            root=options.get("root", "."),
            split=split,
            download=options.get("download", "no") == "yes",
        )
        for part, split in splits.items()
    }
    names = _names(next(iter(parts.values())))
    for dataset in parts.values():
        if _names(dataset) != names:
            raise InvalidData(named.spec, ["its splits have different classes"])
    images = TorchImages(parts)
    entries = (entry for part, dataset in parts.items() for entry in _torch_entries(part, dataset))
    return list_entries(named.spec, entries, names, images, task)


def _splits(named: DatasetSpec) -> dict[str, str]:
    name = named.name.split("/")[-1].lower()
    if name in FOLDERS:
        root = Path(named.options.get("root", "."))
        folders = [folder.name for folder in sorted(root.iterdir()) if folder.name in PART_NAMES]
        return {PART_NAMES[folder]: folder for folder in folders} or {"": "all"}
    second = "validation" if name in TRAIN_AND_VALIDATION else "test"
    return {"train": "train", second: second}


def _names(dataset: Untyped) -> Sequence[str]:
    # ImageNet has several words for each class.
    names = getattr(dataset, "classes", ())
    return [name if isinstance(name, str) else ", ".join(name) for name in names]


def _torch_entries(part: str, dataset: Untyped) -> Iterator[Entry]:
    targets = getattr(dataset, "targets", None)
    for index in range(len(dataset)):
        key, where = f"{part}/{index}", "" if part == "all" else part
        if targets is not None:
            yield Entry(key, where, targets[index])
            continue
        try:
            image, target = dataset[index]
        except Exception as error:  # noqa: BLE001 - decoders raise whatever they like
            yield Entry(key, where, None, _unreadable(error))
            continue
        image.close()  # it may be a file that nothing was read of yet
        yield Entry(key, where, target)


def _unreadable(error: Exception) -> str:
    return f"is not a readable image ({error})"


class HubImages(EncodedImages):
    """Implements `Images`: keys are the split and the index in it."""

    def __init__(self, readers: Mapping[str, Untyped]) -> None:
        self.readers = readers

    def encoded(self, key: str) -> bytes:
        """See `EncodedImages.encoded`."""
        part, _, index = key.partition("/")
        # Not through timm's dataset: that puts the next image in the place of an unreadable one.
        with self.readers[part][int(index)][0] as file:
            data: bytes = file.read()
        return data

    def file(self, key: str) -> None:
        """See `Images.file`: images lie inside tables."""


def list_hfds(named: DatasetSpec, task: Task | None) -> Listing:
    """List the images of the dataset's splits.

    Raises:
        MissingPackage: ``datasets`` is not installed.
        InvalidData: It has no splits that are called as splits are.
    """
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise MissingPackage(
            "datasets, which opens hfds/…,", "pip install 'zoo-registry[hfds]'"
        ) from error
    splits = named.splits
    if not splits:
        split_names = datasets.get_dataset_split_names(named.name)
        splits = {PART_NAMES[name]: name for name in split_names if name in PART_NAMES}
        if not splits:
            text = f"its splits are {', '.join(split_names)}: say which is which (?train=…&test=…)"
            raise InvalidData(named.spec, [text])
    options = named.options
    readers = {
        part: create_dataset(
            f"hfds/{named.name}",
            root=options.get("root"),
            split=split,
            input_key=options.get("image", "image"),
            target_key=options.get("label", "label"),
        ).reader
        for part, split in splits.items()
    }
    index = next(iter(readers.values())).class_to_idx
    names = sorted(index, key=index.__getitem__)
    entries = (
        Entry(f"{part}/{index}", part, target)
        for part, reader in readers.items()
        for index, target in enumerate(reader.iter_targets())
    )
    return list_entries(named.spec, entries, names, HubImages(readers), task)
