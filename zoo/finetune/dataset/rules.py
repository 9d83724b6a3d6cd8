"""What a dataset must have to be trained on, and what is odd about it: copies and leaks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from zoo.finetune.dataset.dataset import PARTS, Listing, Row, Sample
from zoo.finetune.dataset.split import Parts

__all__ = ["broken_rules", "find_leaks"]


def broken_rules(listing: Listing, rows: Sequence[Row]) -> list[str]:
    """What is wrong with these rows of the listing, each of which has a label."""
    if not rows:
        return ["no images"]
    check = _regression if listing.task == "regression" else _counts
    return [*check(listing, rows), *(_parts(listing, rows) if any(x.part for x in rows) else ())]


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
        for name in listing.classes:
            if name in names[part] - names["train"]:
                yield f"{kind} '{name}' is in the {part} split, but not in that to train on"
        # A rare label may well miss a split; without a class its accuracy says nothing of that.
        for name in listing.classes if listing.task == "classification" else ():
            if name in names["train"] - names[part]:
                yield f"{kind} '{name}' is in the train split, but not in {part}"


def _names(row: Row) -> Iterable[str]:
    return (row.label,) if isinstance(row.label, str) else map(str, row.label or ())


def _kind(listing: Listing) -> str:
    return "class" if listing.task == "classification" else "label"


def find_leaks(
    parts: Parts, digests: Mapping[str, str], groups: Mapping[str, str]
) -> Iterator[str]:
    """Remarks on copies of images: that there are any, that their labels differ, and, where parts
    are given or copies may be in several parts, that training has seen what measures it.

    ``digests`` and ``groups`` are of images, by key.
    """
    copies: dict[str, list[tuple[str, Sample]]] = defaultdict(list)
    for name, samples in zip(PARTS, parts, strict=True):
        for sample in samples:
            copies[digests[sample.key]].append((name, sample))
    several = [each for each in copies.values() if len(each) > 1]
    if several:
        number = sum(len(each) - 1 for each in several)
        yield f"{number} images are copies of others, such as {_pair(several[0])}"
    if odd := [each for each in several if len({sample.target for _, sample in each}) > 1]:
        yield f"{len(odd)} images have copies with another label, such as {_pair(odd[0])}"
    yield from _across(parts, several, groups)


def _across(
    parts: Parts, several: list[list[tuple[str, Sample]]], groups: Mapping[str, str]
) -> Iterator[str]:
    for part, samples in zip(PARTS[1:], parts[1:], strict=True):
        pairs = [
            [trained[0], *seen]
            for each in several
            if (seen := [one for one in each if one[0] == part])
            and (trained := [one for one in each if one[0] == "train"])
        ]
        if pairs:
            number = sum(len(pair) - 1 for pair in pairs)
            yield (
                f"{number} of {len(samples)} {part} images are trained on, too, such as "
                f"{_pair(pairs[0])}: figures on these say nothing about new images"
            )
        own_groups, train_groups = (
            {groups.get(x.key, "") for x in each} for each in (samples, parts.train)
        )
        shared = (own_groups & train_groups) - {""}
        if shared and not pairs:
            yield f"{len(shared)} groups are in the {part} split and in that to train on"


def _pair(each: list[tuple[str, Sample]]) -> str:
    (_, one), (_, other) = each[:2]
    return f"'{one.key}' and '{other.key}'"
