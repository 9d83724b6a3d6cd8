"""Splits: disjoint, complete, with the shares that were asked for, from the seed alone."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.domain.task import Task
from zoo.finetune.dataset.dataset import Sample
from zoo.finetune.dataset.split import Parts, Shares, split

shares = st.tuples(st.floats(0, 0.7), st.floats(0, 0.7)).filter(lambda s: s[0] + s[1] < 0.95)
seeds = st.integers(0, 1 << 40)
counts = st.lists(st.integers(2, 40), min_size=2, max_size=6)
label_sets = st.lists(st.sets(st.integers(0, 4)), min_size=3, max_size=60)


def made(counts: list[int]) -> list[Sample]:
    return [
        Sample(f"{label}/{i:03}.png", label)
        for label, count in enumerate(counts)
        for i in range(count)
    ]


def marks_of(sample: Sample) -> tuple[float, ...]:
    """Its labels, one figure each."""
    assert isinstance(sample.target, tuple)
    return sample.target


def marked(sets: list[set[int]], labels: int = 5) -> list[Sample]:
    return [
        Sample(f"{i:04}.png", tuple(float(label in present) for label in range(labels)))
        for i, present in enumerate(sets)
    ]


def check_whole(parts: Parts, samples: list[Sample]) -> None:
    assert sorted(parts.train + parts.validation + parts.test) == sorted(samples)
    for part in parts:
        assert part == sorted(part)


@given(counts, shares, seeds)
@settings(max_examples=60, deadline=None)
def test_each_class_has_its_share(
    counts: list[int], shares: tuple[float, float], seed: int
) -> None:
    samples = made(counts)
    parts = split(samples, "classification", Shares(*shares), seed)
    check_whole(parts, samples)
    have = [Counter(sample.target for sample in part) for part in parts]
    for label, count in enumerate(counts):
        train, validation, test = (part[label] for part in have)
        assert train >= 1
        for part, share in ((validation, shares[0]), (test, shares[1])):
            if not share:
                assert part == 0
            elif count >= 3:
                # Whole images, at least one in each part.
                assert part >= 1
                assert abs(part - count * share) <= 2
        if count == 2 and shares[1]:
            assert (validation, test) == (0, 1)


@given(label_sets, shares, seeds)
@settings(max_examples=60, deadline=None)
def test_labels_are_split_whole_and_all_can_be_learned(
    sets: list[set[int]], shares: tuple[float, float], seed: int
) -> None:
    samples = marked(sets)
    parts = split(samples, "multi-label", Shares(*shares), seed)
    check_whole(parts, samples)
    assert parts.train
    for label in range(5):
        if any(label in present for present in sets):
            assert any(marks_of(sample)[label] for sample in parts.train)
    for part, share in zip(parts[1:], shares, strict=True):
        assert share or not part


def test_labels_keep_their_frequencies() -> None:
    chance = random.Random(3)
    rates = (0.5, 0.2, 0.1, 0.03, 0.01)
    sets = [
        {label for label, rate in enumerate(rates) if chance.random() < rate} for _ in range(2000)
    ]
    samples = marked(sets)
    parts = split(samples, "multi-label", Shares(0.1, 0.2), 0)
    assert [len(part) for part in parts] == pytest.approx([1400, 200, 400], abs=5)
    for label in range(5):
        total = sum(label in present for present in sets)
        for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
            have = sum(marks_of(sample)[label] for sample in part)
            assert abs(have - total * share) <= 2, (label, share)


def test_numbers_are_split_at_random() -> None:
    samples = [Sample(f"{i:03}.png", (float(i),)) for i in range(100)]
    parts = split(samples, "regression", Shares(0.1, 0.2), 0)
    check_whole(parts, samples)
    assert [len(part) for part in parts] == [70, 10, 20]
    assert parts.test != samples[:20]


@pytest.mark.parametrize("task", ["classification", "multi-label", "regression"])
@given(seed=seeds, order=st.randoms())
@settings(max_examples=20, deadline=None)
def test_the_order_of_listing_does_not_matter(task: Task, seed: int, order: random.Random) -> None:
    samples = made([9, 12, 30])
    if task != "classification":
        samples = [Sample(key, (float(target == 1), float(target == 2))) for key, target in samples]
    shuffled = list(samples)
    order.shuffle(shuffled)
    first = split(samples, task, Shares(0.2, 0.2), seed)
    assert split(shuffled, task, Shares(0.2, 0.2), seed) == first
    assert split(samples, task, Shares(0.2, 0.2), seed + 1) != first


def test_adding_to_one_class_moves_nothing_in_another() -> None:
    before = split(made([20, 20]), "classification", Shares(0.1, 0.2), 5)
    after = split(made([20, 33]), "classification", Shares(0.1, 0.2), 5)
    for one, other in zip(before, after, strict=True):
        assert [s for s in one if s.target == 0] == [s for s in other if s.target == 0]


def test_splits_are_the_same_in_every_version() -> None:
    parts = split(made([4, 4]), "classification", Shares(0.2, 0.2), 1)
    assert [sample.key for sample in parts.test] == ["0/002.png", "1/001.png"]
