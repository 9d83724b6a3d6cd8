"""Catalog: checkpoints known from a source, and what a source says of one it can deliver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["OPEN", "CatalogEntry", "Location", "Page", "Release", "SourceFile"]

OPEN = frozenset({"hub"})
"""Sources that list what anybody publishes, under names that anybody may have in a zoo."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where weights can be had: ``source`` is a plugin name, ``locator`` its own address."""

    source: str
    locator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """A checkpoint known from a source but not pulled. What a source does not know is None.

    Attributes:
        name: ``namespace/architecture.tag``; what a user types to pull it.
        backbone: The backbone plugin that can build the architecture.
        architecture: A name that this plugin knows.
        tag: Pretrained tag, the published recipe behind the weights.
        license: SPDX-like license id.
        hub_id: Repository on the HF Hub.
        input_size: Channels, height, width.
        mean: Per-channel mean that inputs are normalised with, on a 0..1 scale.
        std: Per-channel standard deviation, on a 0..1 scale.
        interpolation: Resize filter.
        crop_pct: Share of the resized image that the crop keeps.
        crop_mode: ``center``, ``squash`` or ``border``.
        num_classes: Outputs of the classifier; 0 for an encoder.
        params: Number of parameter elements.
        datasets: What it was trained on.
        keywords: Labels that the source gives it.
        card: The model card, as text that nobody has checked.
        updated: When it changed last at the source, ISO 8601.
        metrics: Numbers that the source publishes: results, downloads, likes.
        facts: What else it says, as plain data.
        location: Where the weights can be had; None if the source only describes them.
    """

    name: str
    backbone: str
    architecture: str
    tag: str | None = None
    license: str | None = None
    hub_id: str | None = None
    input_size: tuple[int, int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    num_classes: int | None = None
    params: int | None = None
    datasets: tuple[str, ...] | None = None
    keywords: tuple[str, ...] | None = None
    card: str | None = None
    updated: str | None = None
    metrics: Mapping[str, float] | None = None
    facts: Mapping[str, Any] | None = None
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a long listing: ``entries``. The next begins at ``cursor``, None: there is none.

    ``skipped`` is what was left out because it cannot be read, by name.
    """

    entries: tuple[CatalogEntry, ...]
    cursor: str | None
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of a release: ``path``, ``size`` in bytes, ``sha256`` in hex where published.

    ``git`` is what Git calls the bytes, 40 hex digits, where that is published instead.
    """

    path: str
    size: int
    sha256: str | None = None
    git: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """An immutable revision of what a locator names.

    Attributes:
        source: Plugin name.
        locator: The address that was resolved.
        revision: What pins it: a commit, or a package version.
        files: Its files.
        weights: Path of the file that holds the weights.
        license: License that the source states, if any.
    """

    source: str
    locator: str
    revision: str
    files: tuple[SourceFile, ...]
    weights: str
    license: str | None = None

    def file(self, path: str) -> SourceFile:
        """The file at ``path``.

        Raises:
            KeyError: There is none.
        """
        for file in self.files:
            if file.path == path:
                return file
        raise KeyError(path)
