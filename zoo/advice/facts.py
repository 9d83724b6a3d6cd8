"""Facts about a dataset: what it holds, and which of its images and labels look wrong.

A suspect is shown to people and never acted upon: nothing is deleted, moved or relabeled.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from zoo.advice.alike import CANDIDATES, Alike, alike
from zoo.advice.labels import agreement, doubts, out_of_fold
from zoo.advice.nearest import Near, components, nearest
from zoo.advice.reading import Reading
from zoo.advice.threads import one_thread
from zoo.domain.progress import Progress
from zoo.domain.result import Result
from zoo.domain.words import plural
from zoo.finetune.dataset.dataset import PARTS, Dataset, SkippedImage, Target
from zoo.finetune.dataset.split import labels_of
from zoo.finetune.results.interval import wilson

__all__ = [
    "DoubtedLabel",
    "Duplicate",
    "Facts",
    "Leak",
    "Learnable",
    "Odd",
    "Sizes",
    "compare",
    "facts_of",
    "groups_of",
]

NEIGHBORS = 5
"""How odd an image is, the farthest of so many neighbors says: a few odd ones may be alike."""
DIRECTIONS = 128
"""Principal components that neighbors are looked for in; later ones are mostly noise."""
FAR = 2.0
"""How far above the median an odd image's distance is, on a logarithmic scale, in robust standard
deviations."""
ROBUST = 1.4826
"""Standard deviations of a normal distribution in one median absolute deviation."""
SURE = 3.0
"""Standard errors above chance from which on something can be learned: by chance once in 700."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Sizes(Result):
    """Widths and heights of the images, in pixels; each pair is that of one image.

    Attributes:
        smallest: Of the image with the fewest pixels.
        median: Of the one in the middle.
        largest: Of the one with the most.
        enlarged: How many images are smaller than what the network gets, in width or height.
    """

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    enlarged: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Duplicate(Result):
    """Two images that show the same.

    Attributes:
        image: What one is called.
        other: What the other one is called.
        part: The split that the first is in.
        other_part: That of the other.
        label: The class or labels of the first.
        other_label: Those of the other.
        difference: The share of one picture that the other does not explain; 0 for a copy.
        copy: Whether the two are equal pixel by pixel, whatever their files are. Others only look
            the same: two things of one make may.
    """

    image: str
    other: str
    part: str
    other_part: str
    label: str
    other_label: str
    difference: float
    copy: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Leak(Result):
    """Images that measure a network, or choose it, and show what it was trained or chosen on, or
    look as if they did.

    Attributes:
        part: ``test`` or ``validation``.
        images: How many of its images.
        copies: How many of these are copies, pixel by pixel: only these are a leak for certain.
        of: How many it has.
        example: Two that show the same; copies, if there are any.
    """

    part: str
    images: int
    copies: int
    of: int
    example: Duplicate

    @property
    def text(self) -> str:
        """What makes later figures wrong, or may, in words."""
        pair, of = self.example, plural(self.of, f"{self.part} image")
        both = f"'{pair.image}' ({pair.part}) and '{pair.other}' ({pair.other_part})"
        alike = self.images - self.copies
        looks = plural(alike, "looks like one", "look like some").removeprefix(f"{alike} ")
        if not self.copies:
            return (
                f"alike: {alike} of {of} {looks} in another split, such as {both}; if they show "
                "the same thing, figures on these say little about new images: look at them"
            )
        are = "is a copy of one" if self.copies == 1 else "are copies of some"
        more = f"; {alike} more {looks} there" if alike else ""
        return (
            f"LEAK: {self.copies} of {of} {are} in another split, such as {both}: figures on "
            f"these say nothing about new images{more}"
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Learnable(Result):
    """Whether the network's features tell the classes apart at all.

    Attributes:
        accuracy: Of classifiers that have not seen the image, over all images.
        low: Where its interval of 95 % begins.
        high: Where it ends.
        chance: What a guess with the same shares of classes would get.
        errors: How many standard errors the accuracy is above that.
        learnable: Whether that cannot be chance.
    """

    accuracy: float
    low: float
    high: float
    chance: float
    errors: float
    learnable: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DoubtedLabel(Result):
    """An image whose label may be wrong.

    Attributes:
        image: What it is called.
        part: The split that it is in.
        label: Its class.
        predicted: The class that it is taken for.
        probability: Of that class.
        of_label: Of its own.
    """

    image: str
    part: str
    label: str
    predicted: str
    probability: float
    of_label: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Odd(Result):
    """An image that is like no other one.

    Attributes:
        image: What it is called.
        part: The split that it is in.
        label: Its class or labels.
        far: How far above the median its distance from others is, in robust standard deviations.
    """

    image: str
    part: str
    label: str
    far: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Facts(Result):
    """What is known of a dataset before anything is trained on it.

    Attributes:
        images: How many images each split has.
        classes: How many images each class or label has.
        balance: How many times as many images the largest class has as the smallest; None of
            numbers.
        sizes: How large the images are.
        skipped: Images that cannot be used, and why.
        leaks: Splits that share pictures with those that are trained on, or seem to.
        duplicates: All pairs of images that show the same.
        learnable: Whether anything can be learned; None where the targets are no classes.
        doubted: Images whose labels are doubted, the most doubtful first; none where nothing can
            be learned, or where the targets are no classes.
        odd: Images that are like no other one, the oddest first.
    """

    images: Mapping[str, int]
    classes: Mapping[str, int]
    balance: float | None
    sizes: Sizes
    skipped: tuple[SkippedImage, ...] = field(metadata={"json": "skipped_images"})
    leaks: tuple[Leak, ...]
    duplicates: tuple[Duplicate, ...]
    learnable: Learnable | None
    doubted: tuple[DoubtedLabel, ...]
    odd: tuple[Odd, ...]

    @property
    def contradictory(self) -> tuple[Duplicate, ...]:
        """Images that show the same and have different labels: one of each pair is wrong."""
        return tuple(pair for pair in self.duplicates if pair.label != pair.other_label)


class _Seen(NamedTuple):
    """A dataset with what was read of it."""

    dataset: Dataset
    reading: Reading

    def about(self, at: int) -> tuple[str, str, str]:
        """What an image is called, its split and its label."""
        sample = self.reading.samples[at]
        return sample.key, self.reading.part[at], self.label(sample.target)

    def label(self, target: Target) -> str:
        if self.dataset.task == "regression" and not isinstance(target, int):
            return ", ".join(f"{value:.4g}" for value in target)
        return "|".join(self.dataset.classes[index] for index in labels_of(target))


class Compared(NamedTuple):
    """What images have in common."""

    vectors: Tensor  # their principal components (N, C)
    near: Near
    duplicates: tuple[Duplicate, ...]
    leaks: tuple[Leak, ...]


def compare(dataset: Dataset, reading: Reading, seed: int, progress: Progress) -> Compared:
    """Compare all images of a dataset that was read; ``seed`` is that of the components."""
    number = len(reading.samples)
    with progress("comparing images", 2 * number) as task, one_thread(number):
        vectors = components(reading.features, seed)
        near = nearest(vectors[:, :DIRECTIONS], max(CANDIDATES, NEIGHBORS), task)
        pairs = alike(reading.pictures, near, task)
    duplicates = _duplicates(_Seen(dataset, reading), pairs)
    return Compared(vectors, near, duplicates, tuple(_leaks(dataset, duplicates)))


def facts_of(
    dataset: Dataset,
    reading: Reading,
    compared: Compared,
    groups: Sequence[str],
    input_size: tuple[int, int],
    seed: int,
) -> Facts:
    """All facts of a dataset that was read; ``groups`` are those of `groups_of`, ``input_size`` is
    the height and width that the network gets, ``seed`` that of the folds.
    """
    seen = _Seen(dataset, reading)
    learnable, doubted = None, tuple[DoubtedLabel, ...]()
    if dataset.task == "classification":
        with one_thread(len(reading.samples)):
            shares = out_of_fold(compared.vectors, reading.targets, groups, seed)
        learnable = _learnable(shares, reading.targets)
        doubted = tuple(_doubted(seen, shares)) if learnable.learnable else ()
    counts = Counter(label for each in reading.samples for label in labels_of(each.target))
    numbers = dataset.task == "regression"
    classes = {} if numbers else {name: counts[at] for at, name in enumerate(dataset.classes)}
    return Facts(
        images={name: len(getattr(dataset, name)) for name in PARTS},
        classes=classes,
        balance=max(counts.values()) / max(min(classes.values()), 1) if classes else None,
        sizes=_sizes(reading.sizes, input_size),
        skipped=dataset.skipped,
        leaks=compared.leaks,
        duplicates=compared.duplicates,
        learnable=learnable,
        doubted=doubted,
        odd=tuple(_odd(seen, compared.vectors[:, :DIRECTIONS], compared.near)),
    )


def groups_of(reading: Reading, duplicates: Sequence[Duplicate]) -> tuple[str, ...]:
    """What each image stays in one part with: its group, its copies, and what shows the same;
    empty where it is alone.
    """
    index = {sample.key: at for at, sample in enumerate(reading.samples)}
    first: dict[str, int] = {}
    edges = [(index[pair.image], index[pair.other]) for pair in duplicates]
    for at, group in enumerate(reading.group):
        if group:
            edges.append((first.setdefault(group, at), at))
    if not edges:
        return ("",) * len(index)
    one, other = zip(*edges, strict=True)
    graph = coo_array(([1] * len(edges), (one, other)), shape=(len(index), len(index)))
    _, sets = connected_components(graph, directed=False)
    sizes = Counter(sets.tolist())
    return tuple(f"set {each}" if sizes[each] > 1 else "" for each in sets.tolist())


def _duplicates(seen: _Seen, pairs: Sequence[Alike]) -> tuple[Duplicate, ...]:
    """All pairs, those of copies first."""
    copies: dict[tuple[int, ...], list[int]] = defaultdict(list)
    hashed = [tuple(each) for each in seen.reading.pixels.tolist()]
    for at, each in enumerate(hashed):
        copies[each].append(at)
    equal = [Alike(same[0], other, 0.0) for same in copies.values() for other in same[1:]]
    others = sorted(
        (pair for pair in pairs if hashed[pair.one] != hashed[pair.other]),
        key=lambda pair: pair.difference,
    )
    return tuple(
        _duplicate(seen, pair, at < len(equal)) for at, pair in enumerate([*equal, *others])
    )


def _duplicate(seen: _Seen, pair: Alike, copy: bool) -> Duplicate:
    (image, part, label), (other, other_part, other_label) = (
        seen.about(at) for at in (pair.one, pair.other)
    )
    return Duplicate(
        image=image,
        other=other,
        part=part,
        other_part=other_part,
        label=label,
        other_label=other_label,
        difference=max(pair.difference, 0.0),
        copy=copy,
    )


def _leaks(dataset: Dataset, duplicates: Sequence[Duplicate]) -> Iterator[Leak]:
    for at, part in reversed([*enumerate(PARTS)][1:]):
        earlier = PARTS[:at]
        pairs = [
            pair
            for pair in duplicates
            if (pair.part in earlier and pair.other_part == part)
            or (pair.other_part in earlier and pair.part == part)
        ]
        if pairs:
            own = [(pair.image if pair.part == part else pair.other, pair.copy) for pair in pairs]
            count = len(getattr(dataset, part))
            yield Leak(
                part=part,
                images=len({image for image, _ in own}),
                copies=len({image for image, is_copy in own if is_copy}),
                of=count,
                example=pairs[0],
            )


def _sizes(sizes: Tensor, input_size: tuple[int, int]) -> Sizes:
    order = sizes.prod(dim=1).argsort(stable=True)
    smallest, median, largest = (
        (int(sizes[at, 0]), int(sizes[at, 1]))
        for at in order[[0, len(order) // 2, len(order) - 1]].tolist()
    )
    height, width = input_size
    small = (sizes[:, 0] < width) | (sizes[:, 1] < height)
    return Sizes(smallest=smallest, median=median, largest=largest, enlarged=int(small.sum()))


def _learnable(shares: Tensor, targets: Tensor) -> Learnable:
    predicted = shares.argmax(dim=1)
    right = int((predicted == targets).sum())
    low, high = wilson(right, len(targets))
    chance, errors = agreement(predicted, targets)
    return Learnable(
        accuracy=right / len(targets),
        low=low,
        high=high,
        chance=chance,
        errors=errors,
        learnable=errors >= SURE,
    )


def _doubted(seen: _Seen, shares: Tensor) -> Iterator[DoubtedLabel]:
    targets = seen.reading.targets
    for at in doubts(shares, targets):
        image, part, label = seen.about(at)
        predicted = int(shares[at].argmax())
        yield DoubtedLabel(
            image=image,
            part=part,
            label=label,
            predicted=seen.dataset.classes[predicted],
            probability=float(shares[at, predicted]),
            of_label=float(shares[at, targets[at]]),
        )


def _odd(seen: _Seen, vectors: Tensor, near: Near) -> Iterator[Odd]:
    away = torch.stack([(vectors - vectors[index]).norm(dim=1) for index in near.others.T])
    distance = away.amax(dim=0).clamp(min=1e-6).log()
    above = distance - distance.median()
    far = above / (ROBUST * above.abs().median()).clamp(min=1e-6)
    for at in far.argsort(descending=True, stable=True).tolist():
        if far[at] < FAR:
            return
        image, part, label = seen.about(at)
        yield Odd(image=image, part=part, label=label, far=float(far[at]))
