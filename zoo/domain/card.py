"""Card: what is told of a checkpoint where others find it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from zoo.domain.digest import Digest
from zoo.domain.manifest import DECLARED, FOUND, Manifest
from zoo.domain.task import PIPELINES, TASKS

__all__ = ["ancestors", "card_data", "pipeline"]

SHOWN = 50
"""Ancestors that a card lists."""
HOW = {FOUND: "found to derive from", DECLARED: "said to derive from"}
"""Relations that are not what a training did."""


def pipeline(manifest: Manifest) -> str:
    """What the HF Hub calls a checkpoint's task."""
    if not manifest.head.num_classes:
        return "image-feature-extraction"
    task = (manifest.recipe or {}).get("task", "classification")
    return PIPELINES[task][0] if task in TASKS else "image-classification"


def card_data(manifest: Manifest, bases: Sequence[str]) -> dict[str, object]:
    """What the front matter of a checkpoint's card says, without what is unknown; ``bases`` are
    repositories or names of what it derives from.
    """
    said = {
        "license": manifest.license,
        "library_name": manifest.backbone.plugin,
        "pipeline_tag": pipeline(manifest),
        "tags": ["zoo", manifest.backbone.plugin],
        "base_model": bases,
    }
    return {key: value for key, value in said.items() if value}


def ancestors(manifest: Manifest) -> Iterator[str]:
    """What a checkpoint derives from, as a list in Markdown, line by line."""
    depths: dict[Digest | None, int] = {None: 0}
    for child, parent in islice(manifest.lineage(), SHOWN):
        depth = depths[child]
        depths[parent.manifest] = depth + 1
        how = HOW.get(parent.relation, f"{parent.relation} of")
        yield f"{'  ' * depth}- {how} `{parent.ref}`, {parent.manifest}"
    if (more := sum(1 for _ in manifest.lineage()) - SHOWN) > 0:
        yield f"- and {more} more"
