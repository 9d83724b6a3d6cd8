"""What is said of images that are there more than once, and of groups in several parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from zoo.finetune.dataset.dataset import PARTS, Sample
from zoo.finetune.dataset.split import Parts

__all__ = ["find_leaks"]


def find_leaks(
    parts: Parts, digests: Mapping[str, str], groups: Mapping[str, str]
) -> Iterator[str]:
    """Remarks on copies of images: that there are any, that their labels differ, and, where parts
    are given or copies may be in several parts, that training has seen what measures it.

    Args:
        parts: The split.
        digests: Of images, by key.
        groups: Likewise.
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
