"""Dataset: images with targets, checked and split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from blake3 import blake3
from PIL import Image

from zoo.domain.task import Task
from zoo.errors import InvalidData
from zoo.finetune.dataset.images import Images, state_of

__all__ = ["PARTS", "Dataset", "Sample", "Skipped", "content_digest", "parts_digest"]

PARTS = ("train", "validation", "test")

Target = int | tuple[float, ...]


class Sample(NamedTuple):
    """An image and what the network should say about it.

    Attributes:
        key: Which image: its path, or its place in a named dataset. No two samples share one.
        target: A class index; or one number for each label (1 present, 0 not) or column.
    """

    key: str
    target: Target


class Skipped(NamedTuple):
    """An image that was left out, and why."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Images with targets, in three parts that share none; each part is sorted by key.

    Attributes:
        spec: What the user typed.
        task: What the targets mean.
        classes: Class names in index order; names of labels, or of columns for regression.
        train: What is trained on.
        validation: What options are chosen on; may be empty.
        test: What only measures the result; may be empty.
        digest: BLAKE3 over classes, keys, targets and the bytes of every image. It does not depend
            on where the images lie, nor on the split.
        split_digest: BLAKE3 over the keys of each part.
        groups: Of samples, by key; those of one group are meant to stay together. Who is alone has
            none.
        skipped: What was left out.
        images: Reads them.
        states: Of their files when they were checked (`zoo.finetune.dataset.images.state_of`).
        remarks: What is odd about it.
    """

    spec: str
    task: Task
    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]
    digest: str
    split_digest: str
    groups: Mapping[str, str] = field(default_factory=dict, repr=False)
    skipped: tuple[Skipped, ...] = ()
    images: Images = field(repr=False)
    states: Mapping[str, int] = field(default_factory=dict, repr=False)
    remarks: tuple[str, ...] = ()

    def read(self, sample: Sample) -> Image.Image:
        """The sample's image as RGB.

        Raises:
            InvalidImage: It became unreadable since it was checked.
        """
        return self.images.read(sample.key)

    def groups_of(self, samples: Sequence[Sample]) -> list[str]:
        """The group of each; empty: it is alone."""
        return [self.groups.get(sample.key, "") for sample in samples]

    def check_unchanged(self) -> None:
        """Make sure that the files are still those that were checked, and that `digest` is of.

        Raises:
            InvalidData: They are not.
        """
        files = ((key, self.images.file(key)) for key in self.states)
        changed = [key for key, file in files if file and state_of(file) != self.states[key]]
        if changed:
            reason = f"{len(changed)} images changed while they were read, such as '{changed[0]}'"
            raise InvalidData(self.spec, [reason])


def content_digest(
    classes: Sequence[str], samples: Iterable[Sample], digests: Mapping[str, str]
) -> str:
    """BLAKE3 over classes and samples, whatever their order; ``digests``: of images by key."""
    hasher = blake3("\n".join(classes).encode() + b"\0\n")
    for key, target in sorted(samples, key=lambda sample: sample.key):
        # A list of floats prints as the shortest text that reads back the same.
        text = target if isinstance(target, int) else list(map(float, target))
        hasher.update(f"{key}\0{text}\0{digests[key]}\n".encode("utf-8", "surrogateescape"))
    return f"blake3:{hasher.hexdigest()}"


def parts_digest(parts: Sequence[Sequence[Sample]]) -> str:
    """BLAKE3 over the keys of train, validation and test."""
    hasher = blake3()
    for name, samples in zip(PARTS, parts, strict=True):
        for key in sorted(sample.key for sample in samples):
            hasher.update(f"{name}\0{key}\n".encode("utf-8", "surrogateescape"))
    return f"blake3:{hasher.hexdigest()}"
