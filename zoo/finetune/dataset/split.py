"""Split samples into training, validation and test; images of one group stay in one part.

A network that was trained on one image of a patient or of a video, or on a copy, knows the others:
figures on these would be too good. A split depends on keys, targets, groups and the seed alone, not
on the order in which a disk lists files. Where nothing is in groups, images of one class are drawn
without regard to the others, so what is added to one class moves nothing in another.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import NamedTuple

from zoo.domain.task import Task
from zoo.domain.words import plural
from zoo.errors import InvalidOption
from zoo.finetune.dataset.allot import allot
from zoo.finetune.dataset.columns import FOLDER
from zoo.finetune.dataset.dataset import Row, Sample, Target

__all__ = [
    "Parts",
    "Shares",
    "by_rule",
    "fold_of",
    "joined",
    "labels_of",
    "split",
]


@dataclass(frozen=True, slots=True)
class Shares:
    """How much is held out; 0: none. `InvalidOption`: nothing would be left to train on."""

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
    seen: Set[str] = frozenset(),
) -> Parts:
    """Hold out shares of each class; of all samples with like shares of each label; or of all.

    ``groups`` are of samples that stay together, by key. Of a class, none that is ``seen``, nor one
    of its group, is to test on, where at least half as many others are left as its share is; nor to
    choose on, where of the others twice as many are left then: some are to be trained on.
    """
    ordered = sorted(samples, key=lambda sample: sample.key)
    together = [(groups or {}).get(sample.key, "") for sample in ordered]
    sizes = Counter(together)
    # Of some groups only one may be here: where splits are given, the rest is in these.
    together = [group if sizes[group] > 1 else "" for group in together]
    if any(together) or (seen and task == "multi-label"):
        labels = [() if task == "regression" else labels_of(sample.target) for sample in ordered]
        each = 1 - shares.validation - shares.test, shares.validation, shares.test
        known = [sample.key in seen for sample in ordered]
        allotted = allot(labels, together, each, seed, task == "classification", known)
        parts = Parts([], [], [])
        for sample, part in zip(ordered, allotted, strict=True):
            parts[part].append(sample)
    elif task == "multi-label":
        parts = _by_labels(ordered, shares, seed)
    else:
        parts = _by_classes(ordered, shares, seed, seen)
    return Parts(*(sorted(part, key=lambda sample: sample.key) for part in parts))


def _by_classes(samples: Sequence[Sample], shares: Shares, seed: int, seen: Set[str]) -> Parts:
    """Shares of each class; of numbers, of all."""
    parts = Parts([], [], [])
    classes: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        classes[sample.target if isinstance(sample.target, int) else 0].append(sample)
    for target, group in classes.items():
        _random(seed, target).shuffle(group)
        validation, test = shares.of(len(group))
        group, test = _unseen_first(group, seen, validation, test)
        parts.test.extend(group[:test])
        parts.validation.extend(group[test : test + validation])
        parts.train.extend(group[test + validation :])
    return parts


def _unseen_first(
    group: list[Sample], seen: Set[str], validation: int, test: int
) -> tuple[list[Sample], int]:
    """The images of a class, those first that are to test on, then those to choose on; and how many
    are to test on.
    """
    others = [sample for sample in group if sample.key not in seen]
    if len(others) == len(group):
        return group, test
    if 2 * len(others) >= test:
        test = min(test, len(others))
    enough = len(others) - test >= 2 * validation
    first = others[: test + validation] if enough else others[:test]
    keys = {sample.key for sample in first}
    return [*first, *(sample for sample in group if sample.key not in keys)], test


def fold_of(parts: Parts, fold: str, task: Task, seed: int, groups: Mapping[str, str]) -> Parts:
    """The parts with other validation images: the K-th of N folds (``K/N``) of these and those to
    train on, with classes spread evenly; with ``all`` none, all of these are trained on.

    Groups stay together. What alone has a class or label is always trained on, with its group.

    Raises:
        InvalidOption: The fold is empty, or nothing is left to train on.
    """
    pool = sorted([*parts.train, *parts.validation], key=lambda sample: sample.key)
    if fold == "all":
        return Parts(pool, [], parts.test)
    number, of = map(int, fold.split("/"))
    together = [groups.get(sample.key, "") for sample in pool]
    labels = [() if task == "regression" else tuple(labels_of(x.target)) for x in pool]
    held = [part + 1 == number for part in allot(labels, together, [1 / of] * of, seed)]
    known = {x for each, out in zip(labels, held, strict=True) if not out for x in each}
    alone = {
        group or sample.key
        for group, sample, each in zip(together, pool, labels, strict=True)
        if not known.issuperset(each)
    }
    held_out = {
        sample.key
        for group, sample, out in zip(together, pool, held, strict=True)
        if out and (group or sample.key) not in alone
    }
    if not 0 < len(held_out) < len(pool) - 1:
        grouped = "" if "" in together else f" in {plural(len({*together}), 'group')}"
        raise InvalidOption(
            f"{of} folds of {len(pool)} training and validation images{grouped} are too many: "
            f"fold {number} holds out {len(held_out)} of them"
        )
    return Parts(
        [sample for sample in pool if sample.key not in held_out],
        [sample for sample in pool if sample.key in held_out],
        parts.test,
    )


def labels_of(target: Target) -> Iterable[int]:
    """The class, or the labels that are present."""
    if isinstance(target, int):
        return (target,)
    return [label for label, value in enumerate(target) if value]


def _random(seed: int, target: int) -> random.Random:
    return random.Random(f"{seed} {target}")  # noqa: S311 - a split, not a secret


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
    _random(seed, 0).shuffle(pool)
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


def by_rule(rows: Iterable[Row], group_by: str) -> list[Row]:
    """The rows with the groups that their paths name; a problem where one names none.

    ``folder`` takes the folder that an image lies in, below that of its class; a regular expression
    that is found in the path takes its first group. Anything else is an `InvalidOption`.
    """
    rule = _of_pattern(group_by) if group_by != FOLDER else _of_folder
    grouped = []
    for row in rows:
        group = rule(row)
        problem = "" if group else f"has no group: --group-by {group_by} finds none in its path"
        grouped.append(replace(row, group=group, problem=row.problem or problem))
    return grouped


def _of_folder(row: Row) -> str:
    name = PurePosixPath(row.key).parent.name
    return "" if name == row.label else name


def _of_pattern(text: str) -> Callable[[Row], str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InvalidOption(f"--group-by {text} is not a regular expression: {error}") from error
    if not pattern.groups:
        raise InvalidOption(
            f"--group-by {text} has no group in it: put what names the patient, say, in (…)"
        )

    def named(row: Row) -> str:
        match = pattern.search(row.key)
        return (match[1] or "") if match else ""

    return named


def joined(rows: Sequence[Row], digests: Mapping[str, str]) -> list[Row]:
    """The rows with groups put together that share an image; what is alone has none.

    ``digests`` are of images, by key; where there is none, an image has no copies. This is
    union-find: each name points at another one of its set, and at last at the set's own.
    """
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while (higher := above.setdefault(name, name)) != name:
            above[name] = name = above.setdefault(higher, higher)
        return name

    for row in rows:
        names = [f"key {row.key}"]
        names += [f"group {row.group}"] if row.group else []
        names += [f"copy {digests[row.key]}"] if row.key in digests else []
        for name in names[1:]:
            one, other = sorted((top(names[0]), top(name)))
            above[other] = one
    tops = [top(f"key {row.key}") for row in rows]
    sizes = Counter(tops)
    return [
        replace(row, group=name if sizes[name] > 1 else "")
        for row, name in zip(rows, tops, strict=True)
    ]
