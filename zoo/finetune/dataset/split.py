"""Split samples into training, validation and test.

A split depends on keys, targets, groups and the seed alone, not on the order in which a disk lists
files. Where nothing is in groups, images of one class are drawn without regard to the others, so
what is added to one class moves nothing in another.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from zoo.domain.task import Task
from zoo.errors import InvalidOption
from zoo.finetune.dataset.dataset import Sample, Target
from zoo.finetune.dataset.groups import allot

__all__ = ["Parts", "Shares", "labels_of", "split"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shares:
    """How much is held out; 0: none.

    Raises:
        InvalidOption: Nothing would be left to train on.
    """

    validation: float
    test: float

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or not self.validation + self.test < 1:
            raise InvalidOption("validation and test share must be 0 or more, together below 1")

    def of(self, count: int) -> tuple[int, int]:
        """Validation and test images among ``count``: one at least of each where there are three
        or more; of two, one is for testing; one at least is left for training.
        """
        available = max(count - 1, 0)
        spare = 1 if self.validation and available > 1 else 0
        test = min(max(round(count * self.test), 1), available - spare) if self.test else 0
        validation = min(max(round(count * self.validation), 1), available - test)
        return validation if self.validation else 0, test


class Parts(NamedTuple):
    """The parts of a split, each sorted by key."""

    train: list[Sample]
    validation: list[Sample]
    test: list[Sample]


def split(
    samples: Sequence[Sample],
    task: Task,
    shares: Shares,
    seed: int,
    groups: Mapping[str, str] | None = None,
) -> Parts:
    """Hold out shares of each class; of all samples with like shares of each label; or of all.

    ``groups`` are of samples that stay together, by key.
    """
    ordered = sorted(samples, key=lambda sample: sample.key)
    together = [(groups or {}).get(sample.key, "") for sample in ordered]
    sizes = Counter(together)
    # Of some groups only one may be here: where splits are given, the rest is in these.
    together = [group if sizes[group] > 1 else "" for group in together]
    if any(together):
        parts = _by_groups(ordered, task, shares, seed, together)
    elif task == "multi-label":
        parts = _by_labels(ordered, shares, seed)
    else:
        parts = Parts([], [], [])
        classes: dict[int, list[Sample]] = defaultdict(list)
        for sample in ordered:
            classes[sample.target if isinstance(sample.target, int) else 0].append(sample)
        for target, group in classes.items():
            _shuffle(group, seed, target)
            validation, test = shares.of(len(group))
            parts.test.extend(group[:test])
            parts.validation.extend(group[test : test + validation])
            parts.train.extend(group[test + validation :])
    return Parts(*(sorted(part, key=lambda sample: sample.key) for part in parts))


def _by_groups(
    samples: Sequence[Sample], task: Task, shares: Shares, seed: int, groups: Sequence[str]
) -> Parts:
    labels: list[Iterable[int]] = [()] * len(samples)
    if task != "regression":
        labels = [labels_of(sample.target) for sample in samples]
    allotted = allot(
        labels,
        groups,
        (1 - shares.validation - shares.test, shares.validation, shares.test),
        seed,
        every=task == "classification",
    )
    parts = Parts([], [], [])
    for sample, part in zip(samples, allotted, strict=True):
        parts[part].append(sample)
    return parts


def labels_of(target: Target) -> Iterable[int]:
    """The class, or the labels that are present."""
    if isinstance(target, int):
        return (target,)
    return [label for label, value in enumerate(target) if value]


def _shuffle(items: list[T], seed: int, target: int) -> None:
    random.Random(f"{seed} {target}").shuffle(items)  # noqa: S311 - a split, not a secret


def _by_labels(samples: Sequence[Sample], shares: Shares, seed: int) -> Parts:
    """Iterative stratification: the samples of the rarest label are handed out first.

    Each goes to the part that lacks most of that label. (Source: Sechidis, Tsoumakas and Vlahavas,
    "On the Stratification of Multi-Label Data", ECML PKDD 2011, section 3.)
    """
    labels = [frozenset(labels_of(sample.target)) for sample in samples]
    validation, test = shares.of(len(samples))
    lacks = [float(len(samples) - validation - test), float(validation), float(test)]
    counts = Counter(label for present in labels for label in present)
    share = [lack / max(len(samples), 1) for lack in lacks]
    lacking = {label: [count * part for part in share] for label, count in counts.items()}
    pool = list(range(len(samples)))
    _shuffle(pool, seed, 0)
    parts: list[list[int]] = [[], [], []]

    def hand_out(index: int, by: Sequence[float]) -> None:
        part = max(range(3), key=lambda part: (by[part], lacks[part]))
        parts[part].append(index)
        lacks[part] -= 1
        for label in labels[index]:
            lacking[label][part] -= 1

    while counts:
        rarest = min(counts, key=lambda label: (counts[label], label))
        for index in [index for index in pool if rarest in labels[index]]:
            hand_out(index, lacking[rarest])
            counts.subtract(labels[index])
        pool = [index for index in pool if rarest not in labels[index]]
        counts = +counts
    for index in pool:
        hand_out(index, lacks)
    _mend(parts, labels, needed=(1, int(validation > 0), int(test > 0)))
    return Parts(*([samples[index] for index in part] for part in parts))


def _mend(parts: list[list[int]], labels: Sequence[frozenset[int]], needed: Sequence[int]) -> None:
    """Every label has an image to train on; no part is empty that should not be."""
    for label in sorted(frozenset().union(*labels)):
        if not any(label in labels[index] for index in parts[0]):
            part = max((1, 2), key=lambda part: sum(label in labels[i] for i in parts[part]))
            index = next(index for index in parts[part] if label in labels[index])
            parts[part].remove(index)
            parts[0].append(index)
    for part in (2, 1):
        if needed[part] and not parts[part] and len(parts[0]) > 1:
            counts = Counter(label for index in parts[0] for label in labels[index])
            common = max(
                parts[0],
                key=lambda i: (min((counts[n] for n in labels[i]), default=len(labels)), i),
            )
            # The last image of a label stays, even if a part stays empty for it.
            if min((counts[label] for label in labels[common]), default=2) > 1:
                parts[0].remove(common)
                parts[part].append(common)
