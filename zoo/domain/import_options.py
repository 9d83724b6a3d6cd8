"""StatedOptions, ImportOptions: what a user says of weights that nobody wrote down beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict

from zoo.domain.task import Task

__all__ = ["AUTO", "ImportOptions", "StatedOptions"]

AUTO = "auto"
"""The parent is looked for among the checkpoints here."""


class StatedOptions(TypedDict, total=False):
    """What can be said of any checkpoint.

    Attributes:
        license: License id.
        classes: Class names in index order, or a file with one on each line, or JSON.
        task: What the outputs mean, where they are not one class of several.
        mean: Per-channel mean on a 0..1 scale.
        std: Per-channel standard deviation on a 0..1 scale.
        crop_pct: An image is resized to its size divided by this before the crop.
        interpolation: Resize filter: ``bicubic``, ``bilinear``, …
        image_size: Height and width; a network that depends on them is built for them.
        dataset: What the weights were trained on.
        metrics: What they were measured to have: ``{"accuracy": 0.91}``.
        note: What the user says of them, in a line.
    """

    license: str | None
    classes: Path | str | Iterable[str] | None
    task: Task | None
    mean: Iterable[float] | None
    std: Iterable[float] | None
    crop_pct: float | None
    interpolation: str | None
    image_size: tuple[int, int] | None
    dataset: str | None
    metrics: Mapping[str, float]
    note: str


class ImportOptions(StatedOptions, total=False):
    """Options of an import.

    Attributes:
        parent: The checkpoint here that the weights were fine-tuned from; ``auto``: the one that
            their bytes resemble, if there is one (docs/import.md).
        files: Further files to keep with the weights.
        force: Move the name also from a checkpoint that this one does not derive from.
    """

    parent: str | None
    files: Iterable[Path | str]
    force: bool
