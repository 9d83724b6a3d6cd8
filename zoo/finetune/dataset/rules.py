"""What a dataset must have to be trained on; every broken rule is reported."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from zoo.finetune.dataset.dataset import PARTS
from zoo.finetune.dataset.listing import Listing, Row

__all__ = ["broken_rules"]


def broken_rules(listing: Listing, rows: Sequence[Row]) -> list[str]:
    """What is wrong with these rows of the listing, each of which has a label."""
    if not rows:
        return ["no images"]
    problems = list(_regression(listing, rows) if listing.task == "regression" else [])
    if listing.task != "regression":
        problems += _counts(listing, rows)
    if any(row.part for row in rows):
        problems += _parts(listing, rows)
    return problems


def _counts(listing: Listing, rows: Sequence[Row]) -> Iterator[str]:
    kind = _kind(listing)
    if listing.task == "classification" and len(listing.classes) == 1:
        yield "only one class is there: training needs at least two classes"
    counts = Counter(name for row in rows for name in _names(row))
    for name in listing.classes:
        if counts[name] < 2:
            what = "one image; training and test need one each" if counts[name] else "no image"
            yield f"{kind} '{name}' has {what}"


def _regression(listing: Listing, rows: Sequence[Row]) -> Iterator[str]:
    if len(rows) < 3:
        yield "fewer than three images: two to train on, one to test"
    for index, name in enumerate(listing.classes):
        values = {row.label[index] for row in rows if row.label is not None}
        if len(values) == 1:
            yield f"the column '{name}' has one value only: there is nothing to learn"


def _parts(listing: Listing, rows: Sequence[Row]) -> Iterator[str]:
    if not any(row.part == "train" for row in rows):
        yield "there are splits, but none to train on"
        return
    if listing.task == "regression":
        return
    kind = _kind(listing)
    names: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        names[row.part].update(_names(row))
    for part in PARTS[1:]:
        if part not in names:
            continue
        for name in _sorted(listing, names[part] - names["train"]):
            yield f"{kind} '{name}' is in the {part} split, but not in that to train on"
        # A rare label may well miss a split; without a class its accuracy says nothing of that.
        if listing.task == "classification":
            for name in _sorted(listing, names["train"] - names[part]):
                yield f"{kind} '{name}' is in the train split, but not in {part}"


def _names(row: Row) -> Iterable[str]:
    return (row.label,) if isinstance(row.label, str) else map(str, row.label or ())


def _sorted(listing: Listing, names: set[str]) -> list[str]:
    return [name for name in listing.classes if name in names]


def _kind(listing: Listing) -> str:
    return "class" if listing.task == "classification" else "label"
