"""How far features are from those of training images, held to SciPy's distance of Mahalanobis."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import mahalanobis

from zoo.backbones.unlike import RIDGE, Nearness, describe
from zoo.domain.calibration import Typical
from zoo.errors import InvalidManifest

Array = NDArray[np.float64]


def unit(features: Array) -> Array:
    found: Array = features / np.linalg.norm(features, axis=1, keepdims=True)
    return found


def drawn(count: int, width: int, seed: int = 0) -> tuple[Array, NDArray[np.int64]]:
    """Features of three classes."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    places = np.random.default_rng(9).normal(0, 2, (3, width)) + 3
    return places[labels] + random.normal(0, 0.7, (count, width)), labels


def described(count: int = 300, width: int = 6) -> Typical:
    (features, labels), (others, _) = drawn(count, width), drawn(100, width, 1)
    found = describe(features, labels, others)
    assert isinstance(found, Typical)
    return found


def test_the_distance_is_that_of_mahalanobis_to_the_nearest_class() -> None:
    """With as many directions as there are features nothing is left over."""
    (features, labels), (new, _) = drawn(300, 6), drawn(20, 6, 5)
    nearness = Nearness(described())
    known = unit(features)
    means = np.stack([known[labels == at].mean(axis=0) for at in range(3)])
    within = known - means[labels]
    spread = within.T @ within / 300
    inverse = np.linalg.inv(spread + RIDGE * np.trace(spread) / 6 * np.eye(6))
    expected = [min(mahalanobis(each, mean, inverse) for mean in means) for each in unit(new)]
    found = nearness.distances(new) * nearness.typical.limit
    assert found == pytest.approx(expected, rel=0.02)  # directions are kept in half precision


def test_five_of_a_hundred_are_beyond_the_limit() -> None:
    others, _ = drawn(100, 6, 1)
    beyond = Nearness(described()).distances(others) > 1
    assert beyond.sum() == 4  # of 101 the 96th


def test_others_are_far() -> None:
    nearness = Nearness(described(300, 200))
    assert nearness.typical.rank == 32
    new, _ = drawn(200, 200, 5)
    odd = np.random.default_rng(3).normal(0, 2, (200, 200)) + 3
    assert np.median(nearness.distances(new)) < 1
    assert (nearness.distances(odd) > 1).all()


def test_how_bright_an_image_is_does_not_count() -> None:
    new, _ = drawn(20, 6, 5)
    nearness = Nearness(described())
    assert nearness.distances(7 * new) == pytest.approx(nearness.distances(new))


def test_features_that_are_no_numbers_are_far() -> None:
    odd = np.array([[np.nan] * 6, [np.inf] * 6, [0.0] * 6])
    found = Nearness(described()).distances(odd)
    assert np.isfinite(found).all()
    assert (found[:2] > 1e6).all()


@pytest.mark.parametrize(
    ("count", "others", "why"),
    [(300, 18, "takes 19 validation images"), (3, 100, "do not tell"), (0, 100, "do not tell")],
)
def test_few_images_tell_nothing(count: int, others: int, why: str) -> None:
    (features, labels), (held_out, _) = drawn(count, 6), drawn(others, 6, 1)
    assert why in str(describe(features, labels, held_out))


def test_very_many_classes_are_not_described() -> None:
    features, labels = np.zeros((7000, 32)), np.arange(7000)
    assert "too many" in str(describe(features, labels, features[:20]))


def test_a_class_without_an_image_has_no_center() -> None:
    """Else it would be at the mean of all classes, where no image of any of them is."""
    random = np.random.default_rng(0)
    places = random.normal(0, 1, (60, 200))
    labels = random.integers(1, 60, 1000)  # none of the first class
    features, others = (places[each] + random.normal(0, 0.3, (len(each), 200))
                        for each in (labels, random.integers(1, 60, 100)))  # fmt: skip
    typical = describe(features, labels, others)
    assert isinstance(typical, Typical)
    assert typical.centers == 59
    odd = unit(features).mean(axis=0) + random.normal(0, 0.001, (50, 200))
    assert (Nearness(typical).distances(odd) > 1).all()


def test_features_that_are_all_alike_tell_nothing() -> None:
    same = np.ones((100, 6))
    said = describe(same, np.zeros(100, np.int64), same)
    assert said == "the features of the training images do not differ"


def test_it_is_small() -> None:
    """Whatever the number of images: none of their features is kept."""
    sizes = {sum(map(len, described(count, 500).arrays().values())) for count in (200, 400)}
    assert sizes == {2 * 500 + 2 * 500 * 32 + 4 * 32 * 32 + 4 * 3 * 32}


def test_arrays_with_numbers_that_are_none_are_refused() -> None:
    typical = described()
    odd = base64.b64encode(np.full(6, np.nan, "<f2").tobytes()).decode()
    with pytest.raises(InvalidManifest, match="NaN or infinite"):
        Nearness(replace(typical, mean=odd))
