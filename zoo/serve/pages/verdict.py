"""Verdict: whether two checkpoints differ in what they say of their test images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.lookup.predictions import paired_test
from zoo.lookup.runs import Run
from zoo.serve.pages.asked import RequestedCheckpoint

__all__ = ["Verdict", "verdicts_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether another one and the first differ in what they say of their test images; ``known``:
    whether that can be told here; ``elsewhere``: whether those are others, so that nothing can be.
    """

    name: str
    known: bool
    elsewhere: bool
    text: str


def verdicts_of(
    ones: Sequence[RequestedCheckpoint], runs: Mapping[Digest, Run]
) -> Iterator[Verdict]:
    """Of each other one, what `zoo.lookup.predictions.paired_test` says of its run and the first
    one's.
    """
    first = ones[0]
    for other in ones[1:]:
        name, pair = other.name, (first.digest, other.digest)
        if pair[0] == pair[1] or not (first.manifest.metrics and other.manifest.metrics):
            continue
        if _are_one(first.manifest, other.manifest):
            text = "they are one network with the same weights: what they say is the same"
            yield Verdict(name=name, known=True, elsewhere=False, text=text)
            continue
        elsewhere = _elsewhere(first.manifest.provenance, other.manifest.provenance)
        test = paired_test(*(runs[each] for each in pair)) if {*pair} <= runs.keys() else None
        if test:
            text = test.in_words(first.name, name)
        elif elsewhere:
            text = "tested on other images: the figures do not compare"
        else:
            text = "what each says of the same images is not kept here, so it cannot be told"
        yield Verdict(
            name=name, known=test is not None, elsewhere=elsewhere and not test, text=text
        )


def _are_one(one: Manifest, other: Manifest) -> bool:
    """Whether two say the same of every image."""
    return (one.weights, one.backbone, one.head, one.preprocessing) == (
        other.weights,
        other.backbone,
        other.head,
        other.preprocessing,
    )


def _elsewhere(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two were tested on other images, by what their trainings noted."""
    if one.get("test_digest") and other.get("test_digest"):
        return one["test_digest"] != other["test_digest"]
    data = [[each.get(f"{part}_digest", "") for part in ("data", "split")] for each in (one, other)]
    return bool(data[0][0] and data[1][0]) and data[0] != data[1]
