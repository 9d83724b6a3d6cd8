"""Dataset: images with targets; first as they are listed, then checked and split."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple
from unicodedata import normalize

from blake3 import blake3
from PIL import Image

from zoo.domain.task import Task
from zoo.domain.words import plural
from zoo.errors import InvalidData
from zoo.finetune.dataset.images import Images, state_of

__all__ = [
    "PARTS",
    "PART_NAMES",
    "Dataset",
    "Label",
    "Listing",
    "Row",
    "Sample",
    "SkippedImage",
    "Target",
    "composed",
    "content_digest",
    "natural_sort",
    "parts_digest",
]

PARTS = ("train", "validation", "test")
PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""What people call the parts of a dataset."""

Label = str | tuple[str, ...] | tuple[float, ...]
"""A class; the labels that are present; the numbers of a regression."""
Target = int | tuple[float, ...]
"""A class index; or one number for each label (1 present, 0 not) or column."""


class Sample(NamedTuple):
    """An image and what the network should say about it."""

    key: str  # its path, or position in a named dataset; no two samples share one
    target: Target


class SkippedImage(NamedTuple):
    """An image that was left out, and why."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One image as it is listed."""

    key: str  # see `Sample.key`
    label: Label | None  # None: not known
    part: str = ""  # train, validation or test where the dataset says so
    group: str = ""  # what it stays in one part with
    problem: str = ""  # why it cannot be used, if that is known already


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All images of a dataset as they are listed."""

    task: Task
    classes: tuple[str, ...]  # in index order; names of labels, or of columns for regression
    rows: tuple[Row, ...]
    images: Images
    cache_key: str  # names the cache of what was checked of this dataset's images
    problems: tuple[str, ...] = ()  # of the dataset as a whole
    remarks: tuple[str, ...] = ()
    taken: str = ""  # what columns were taken for, to be said if that comes to nothing

    def samples(self, rows: Iterable[Row]) -> list[Sample]:
        """Rows, all of which have labels, with these as targets."""
        index = {name: number for number, name in enumerate(self.classes)}

        def target(label: Label) -> int | tuple[float, ...]:
            if self.task == "classification":
                return index[str(label)]
            if self.task == "multi-label":
                return tuple(float(name in label) for name in self.classes)
            return tuple(map(float, label))

        return [Sample(row.key, target(row.label)) for row in rows if row.label is not None]


def composed(listing: Listing) -> Listing:
    """The same, with the names of its classes in Unicode's form NFC where two of them are one but
    for the form: what one system writes as a letter, another writes as a letter and its accent.
    Else they stay as they are written: runs are repeated by them.
    """
    nfc = partial(normalize, "NFC")
    classes = tuple(dict.fromkeys(map(nfc, listing.classes)))
    # The columns of a regression go by their places.
    if len(classes) == len(listing.classes) or listing.task == "regression":
        return listing
    if listing.classes == natural_sort(listing.classes):
        classes = natural_sort(classes)

    def named(label: Label | None) -> Label | None:
        if isinstance(label, tuple):
            return tuple(nfc(str(each)) for each in label)
        return label if label is None else nfc(label)

    rows = tuple(replace(row, label=named(row.label)) for row in listing.rows)
    return replace(listing, classes=classes, rows=rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Images with targets, in three parts that share none; each part is sorted by key.

    `digest` is over classes, keys, targets and the bytes of every image: it does not depend on
    where the images lie, nor on the split. `split_digest` is over the keys of each part.
    """

    spec: str  # what the user typed
    task: Task
    classes: tuple[str, ...]  # in index order; names of labels, or of columns for regression
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]  # what options are chosen on; may be empty
    test: tuple[Sample, ...]  # what only measures the result; may be empty
    digest: str
    split_digest: str
    # By key; an image alone has none.
    groups: Mapping[str, str] = field(default_factory=dict, repr=False)
    # By key, the digests of images; and of those alone that are there several times.
    digests: Mapping[str, str] = field(default_factory=dict, repr=False)
    copies: Mapping[str, str] = field(default_factory=dict, repr=False)
    skipped: tuple[SkippedImage, ...] = ()
    images: Images = field(repr=False)
    # Of files when they were checked (`state_of`).
    states: Mapping[str, int] = field(default_factory=dict, repr=False)
    remarks: tuple[str, ...] = ()
    # Classes that were left out, as fewer than two of their images can be used.
    alone: tuple[str, ...] = ()

    def read(self, sample: Sample) -> Image.Image:
        """The sample's image as RGB; raises `InvalidImage` where it became unreadable."""
        return self.images.read(sample.key)

    @property
    def train_groups(self) -> list[str]:
        """The group of each training image; empty: it is alone."""
        return [self.groups.get(sample.key, "") for sample in self.train]

    def check_unchanged(self) -> None:
        """Raise `InvalidData` where files are not those that were checked, and `digest` is of."""
        files = ((key, self.images.file(key)) for key in self.states)
        changed = [key for key, file in files if file and state_of(file) != self.states[key]]
        if changed:
            reason = f"{plural(len(changed), 'image')} changed while being read"
            raise InvalidData(self.spec, [f"{reason}, such as '{changed[0]}'"])


def content_digest(
    classes: Sequence[str], samples: Iterable[Sample], digests: Mapping[str, str]
) -> str:
    """BLAKE3 over classes and samples, whatever their order; ``digests``: of images by key."""
    hasher = blake3("\n".join(classes).encode() + b"\0\n")
    for key, target in sorted(samples, key=lambda sample: sample.key):
        # A list of floats prints as the shortest text that reads back the same.
        text = target if isinstance(target, int) else list(map(float, target))
        # File names need not be UTF-8.
        hasher.update(f"{key}\0{text}\0{digests[key]}\n".encode("utf-8", "surrogateescape"))
    return f"blake3:{hasher.hexdigest()}"


def parts_digest(parts: Sequence[Sequence[Sample]]) -> str:
    """BLAKE3 over the keys of train, validation and test."""
    hasher = blake3()
    for name, samples in zip(PARTS, parts, strict=True):
        for key in sorted(sample.key for sample in samples):
            hasher.update(f"{name}\0{key}\n".encode("utf-8", "surrogateescape"))
    return f"blake3:{hasher.hexdigest()}"


def natural_sort(names: Iterable[str]) -> tuple[str, ...]:
    """Names sorted as people count, ``2`` before ``10``, small and capital letters alike."""

    def counted(name: str) -> tuple[list[tuple[int, str]], str]:
        parts = re.split(r"(\d+)", name.casefold())
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name

    return tuple(sorted(set(names), key=counted))
