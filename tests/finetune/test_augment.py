"""Augmentation: no draw ends a run, and an image that cannot be transformed is told."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from zoo.domain.manifest import Preprocessing
from zoo.errors import InvalidImage
from zoo.finetune.dataset.augment import LEVELS, Transform, seeded, training_transform
from zoo.finetune.dataset.batches import Batches
from zoo.finetune.dataset.open import open_dataset

PREPROCESSING = Preprocessing(
    input_size=(3, 24, 24), interpolation="bicubic", mean=(0.5,) * 3, std=(0.25,) * 3,
    crop_pct=1.0, crop_mode="center",
)  # fmt: skip


@pytest.fixture
def image() -> Image.Image:
    return Image.linear_gradient("L").resize((32, 32)).convert("RGB")


@pytest.mark.long
def test_no_draw_fails(image: Image.Image) -> None:
    """One image in some hundreds is posterized at the highest magnitude."""
    apply = training_transform(PREPROCESSING, "timm", "heavy").apply
    for number in range(1000):
        with seeded(0, number):
            assert apply(image).isfinite().all()


@pytest.mark.parametrize("level", LEVELS)
def test_a_network_of_one_channel_is_given_grey_images(image: Image.Image, level: str) -> None:
    how = replace(PREPROCESSING, input_size=(1, 24, 24), mean=(0.5,), std=(0.25,))
    transform = training_transform(how, "timm", level)
    for number in range(100 if transform.random else 1):
        with seeded(0, number):
            made = transform.apply(image)
        assert made.shape == (1, 24, 24)
        assert made.isfinite().all()


def test_the_highest_magnitude_is_drawn_by_every_operation(
    image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "gauss", lambda mean, _: mean + 5)
    apply = training_transform(PREPROCESSING, "timm", "heavy").apply
    found = []
    for number in range(300):
        with seeded(1, number):
            found.append(apply(image))
    with seeded(1, 0):
        assert torch.equal(apply(image), found[0])
    assert len({made.sum().item() for made in found}) > 200


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_transformed_is_named(shapes: Path, workers: int) -> None:
    dataset = open_dataset(str(shapes))

    def apply(image: Image.Image) -> torch.Tensor:
        if image.getpixel((0, 0)) == (27, 60, 120):  # the fourth drawing of each kind
            raise ValueError("bits must be between 1 and 8")
        return torch.zeros(3, 32, 32)

    batches = Batches(
        dataset, dataset.train, Transform(apply, (3, 32, 32), random=True), 4, workers=workers
    )
    with pytest.raises(InvalidImage, match=r"03\.png: cannot be transformed: bits must be"):
        list(batches.epoch(0))
