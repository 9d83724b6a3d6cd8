"""Datasets of the Hugging Face ``datasets`` package, through timm: ``hfds/beans?label=labels``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from blake3 import blake3
from PIL import Image
from timm.data import create_dataset

from zoo.domain.task import Task
from zoo.errors import InvalidData, MissingPackage
from zoo.finetune.dataset.images import decode
from zoo.finetune.dataset.listing import PART_NAMES, Listing
from zoo.finetune.dataset.named import Named
from zoo.finetune.dataset.values import Entry, list_entries

__all__ = ["list_hfds"]


class HubImages:
    """Implements `Images`: keys are the split and the place in it."""

    def __init__(self, readers: Mapping[str, Any]) -> None:
        self.readers = readers

    def read(self, key: str) -> Image.Image:
        """See `Images.read`."""
        return decode(key, self._bytes(key))

    def check(self, key: str) -> str:
        """See `Images.check`."""
        data = self._bytes(key)
        decode(key, data)
        return blake3(data).hexdigest()

    def file(self, key: str) -> None:
        """See `Images.file`: images lie inside tables."""

    def _bytes(self, key: str) -> bytes:
        part, _, index = key.partition("/")
        # Not through timm's dataset: that puts the next image in the place of an unreadable one.
        with self.readers[part][int(index)][0] as file:
            data: bytes = file.read()
            return data


def list_hfds(named: Named, task: Task | None) -> Listing:
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
    entries = (entry for part, reader in readers.items() for entry in _entries(part, reader))
    return list_entries(named.spec, entries, names, HubImages(readers), task)


def _entries(part: str, reader: Any) -> Iterator[Entry]:
    for index, target in enumerate(reader.iter_targets()):
        yield Entry(f"{part}/{index}", part, target)
