"""Card: what the README of a checkpoint that brings none says of its parents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from zoo.domain.card import card_data
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.errors import InvalidReference

__all__ = ["card_metadata"]


def card_metadata(manifest: Manifest) -> dict[str, object]:
    """What the front matter of its card says: its parents by their names here."""
    return card_data(manifest, [*_names(parent.ref for parent in manifest.parents)])


def _names(refs: Iterable[str]) -> Iterator[str]:
    for ref in refs:
        with suppress(InvalidReference):  # somebody's text
            yield Reference.parse(ref).path
