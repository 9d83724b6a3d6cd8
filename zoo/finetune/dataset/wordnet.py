"""WordNet ids, which ImageNet's folders are called, by the tables in timm's package."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

__all__ = ["is_wordnet_id", "label", "wordnet_ids"]

ID = re.compile(r"n\d{8}")


def is_wordnet_id(name: str) -> bool:
    """Whether a class is called as ImageNet's folders are."""
    return ID.fullmatch(name) is not None


def label(name: str) -> str:
    """What a WordNet id stands for (``tench, Tinca tinca``); any other name as it is."""
    return _labels().get(name, name) if is_wordnet_id(name) else name


def wordnet_ids(classes: Sequence[str]) -> list[str | None]:
    """The id of each class of a published checkpoint, in ImageNet's order; None where it has none.

    Two of ImageNet's classes may have one name (crane, the bird and the machine), so that only
    their places tell which is which.
    """
    for path in sorted(_tables().glob("*_synsets.txt")):
        ids = path.read_text().split()
        if len(ids) == len(classes) and all(map(str.__eq__, map(label, ids), classes)):
            return list(ids)
    return [name if is_wordnet_id(name) else None for name in classes]


def _tables() -> Path:
    spec = find_spec("timm")  # finds it, and imports nothing
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data/_info"


@cache
def _labels() -> dict[str, str]:
    text = (_tables() / "imagenet_synset_to_lemma.txt").read_text("utf-8")
    return dict(csv.reader(text.splitlines(), delimiter="\t"))
