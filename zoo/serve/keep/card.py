"""Card: the README of a checkpoint that brings none, of what its manifest says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress

from zoo.domain.card import ancestors, card_data
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.domain.task import COUNTS, with_intervals
from zoo.errors import InvalidReference

__all__ = ["card_metadata", "card_text"]


def card_metadata(manifest: Manifest) -> dict[str, object]:
    """What the front matter of its card says: its parents by their names here."""
    return card_data(manifest, [*_names(parent.ref for parent in manifest.parents)])


def _names(refs: Iterable[str]) -> Iterator[str]:
    for ref in refs:
        with suppress(InvalidReference):  # somebody's text
            yield Reference.parse(ref).path


def card_text(digest: Digest, manifest: Manifest, problem: str) -> str:
    """The README; ``problem`` is why it has no ``config.json``."""
    # JSON is YAML, whatever is in the texts.
    front = [f"{key}: {json.dumps(value)}" for key, value in card_metadata(manifest).items()]
    how = manifest.preprocessing
    lines = ["---", *front, "---", "", f"# {manifest.backbone.shown}", ""]
    lines += [f"Checkpoint {digest} of a zoo."]
    if problem:
        lines += ["", f"It has no config.json: {' '.join(problem.split())}"]
    size = "x".join(map(str, how.input_size))
    lines += ["", f"Images: {size}, {how.interpolation}, mean {how.mean}, std {how.std}."]
    if manifest.classes:
        lines += ["", f"Classes ({len(manifest.classes)}): {_some(manifest.classes)}"]
    if manifest.metrics:
        figures = with_intervals(manifest.metrics).items()
        rows = (f"| {COUNTS.get(name, name)} | {value} |" for name, value in figures)
        lines += ["", "## Results", "", "| metric | value |", "| --- | --- |", *rows]
    if manifest.parents:
        lines += ["", "## Lineage", "", *ancestors(manifest)]
    return "\n".join(lines) + "\n"


def _some(names: tuple[str, ...], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"`{' '.join(name.split())}`" for name in names[:most]) + more
