"""Images that show the same are found, whatever was done to them, and others are not."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from fakes.colored import scene
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images
from torch import Tensor

from zoo.advice import nearest as n
from zoo.advice.alike import alike, hashes
from zoo.advice.labels import agreement, doubts, out_of_fold
from zoo.advice.nearest import components, nearest
from zoo.advice.reading import SIDE
from zoo.domain.progress import silent


def small(*images: Image.Image) -> Tensor:
    sized = [np.array(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for image in images]
    return torch.from_numpy(np.stack(sized))


def pairs(pictures: Tensor, vectors: Tensor) -> list[tuple[int, int]]:
    with silent("", None) as task:
        near = nearest(vectors, 4, task)
        return [(pair.one, pair.other) for pair in alike(pictures, near, task)]


def recompressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=40)
    return Image.open(file)


ALTERED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "recompressed": recompressed,
    "smaller": lambda image: image.resize((30, 30)),
    "larger": lambda image: image.resize((90, 90)),
    "cropped": lambda image: image.crop((2, 1, 46, 47)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
}


@pytest.mark.parametrize("kind", ALTERED)
def test_what_shows_the_same_is_found(kind: str) -> None:
    images = [scene(number) for number in range(20)]
    pictures = small(*images, ALTERED[kind](images[7]))
    # By the hash alone: these features tell nothing.
    assert pairs(pictures, torch.randn(21, 8, generator=torch.Generator().manual_seed(0))) == [
        (7, 20)
    ]


def test_photos_with_fine_detail_are_found_though_each_side_is_cropped_otherwise() -> None:
    tiles = [
        Image.fromarray(photo[y : y + 100, x : x + 100])
        for photo in load_sample_images().images
        for y in range(0, 327, 50)
        for x in range(0, 540, 50)
    ]
    cropped = [tile.crop((4, 4, 97, 98)) for tile in tiles]
    vectors = torch.randn(2 * len(tiles), 8, generator=torch.Generator().manual_seed(0))
    planted = {(at, len(tiles) + at) for at in range(len(tiles))}
    found = {*pairs(small(*tiles, *cropped), vectors)}
    assert len(found & planted) > 0.95 * len(planted)
    assert found <= planted


def test_a_curve_of_brightness_makes_no_other_picture() -> None:
    gray = [scene(number).convert("L") for number in range(20)]
    white = ImageEnhance.Brightness(gray[7]).enhance(1.9)
    pictures = small(*(image.convert("RGB") for image in (*gray, white)))
    assert (pictures[20] == 255).float().mean() > 0.04
    assert pairs(pictures, torch.randn(21, 8, generator=torch.Generator().manual_seed(0))) == [
        (7, 20)
    ]


def test_what_the_hash_misses_is_found_by_its_features() -> None:
    pictures = small(*(scene(number) for number in range(40)))
    pictures = torch.cat([pictures, small(scene(3).crop((4, 3, 45, 46)))])
    hashed = hashes(pictures)
    farther = (hashed @ hashed[-1] > hashed[3] @ hashed[-1]).sum()
    vectors = torch.randn(41, 64, generator=torch.Generator().manual_seed(0))
    by_hash = pairs(pictures, vectors)
    vectors[-1] = vectors[3]
    assert pairs(pictures, vectors) == [(3, 40)]
    assert (by_hash == []) == (farther > 4)


def test_other_colors_are_another_picture() -> None:
    image = scene(0)
    green, gray = np.array(image)[:, :, [1, 0, 2]], image.convert("L").convert("RGB")
    others = [scene(number) for number in range(1, 8)]
    pictures = small(image, Image.fromarray(green), gray, *others)
    assert pairs(pictures, torch.ones(10, 2)) == []


def test_of_blank_pictures_nothing_is_told() -> None:
    blank = [Image.new("RGB", (40, 40), (level, level, level)) for level in (0, 128, 255)]
    assert pairs(small(*blank), torch.eye(3)) == []


def test_neighbors_are_the_same_however_small_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    with silent("", None) as task:
        whole = nearest(vectors, 3, task)
        monkeypatch.setattr(n, "BLOCK", 7 * 50 * 4)
        parts = nearest(vectors, 3, task)
    unit = torch.nn.functional.normalize(vectors)
    similar = (unit @ unit.T).fill_diagonal_(-1)
    assert torch.equal(whole.others, similar.topk(3).indices)
    assert torch.equal(parts.others, whole.others)


def test_components_keep_distances_and_draw_in_what_is_far_out() -> None:
    features = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    found = components([features[:, :3], features[:, 3:]], 0)
    scaled = ((features - features.mean(0)) / features.std(0)).clamp(-3, 3)
    torch.testing.assert_close(torch.cdist(found, found), torch.cdist(scaled, scaled),
                               rtol=1e-3, atol=1e-2)  # fmt: skip
    features[0] *= 1e6
    assert components([features], 0).abs().max() < 30


def told_apart(images: int, wrong: int = 0) -> tuple[Tensor, Tensor]:
    """Features that tell three classes apart, and labels, the first of which are wrong."""
    chance = torch.Generator().manual_seed(0)
    truth = torch.arange(images) % 3
    vectors = torch.randn(images, 6, generator=chance) + 9 * torch.eye(3, 6)[truth]
    labels = truth.clone()
    labels[:wrong] = (labels[:wrong] + 1) % 3
    return vectors - vectors.mean(dim=0), labels


def test_of_classes_that_are_hardly_told_apart_no_label_is_doubted() -> None:
    """Of a thousand each has next to nothing; only who looks like another one is doubted."""
    probabilities = torch.full((3, 1000), 0.001)
    probabilities[1, 5], probabilities[2, 7] = 0.01, 0.3
    assert doubts(probabilities, torch.tensor([1, 2, 3])) == [2]


def test_where_classes_are_told_apart_badly_a_label_is_doubted_sooner() -> None:
    """There a wrong one, too, gets some of the probability."""
    for own, found in ((0.95, []), (0.4, [9])):
        probabilities = torch.tensor([[own, 1 - own, 0.0]] * 9 + [[0.1, 0.3, 0.6]])
        assert doubts(probabilities, torch.zeros(10, dtype=torch.int64))[:1] == found


def test_wrong_labels_are_doubted_and_others_are_not() -> None:
    vectors, labels = told_apart(300, wrong=9)
    found = doubts(out_of_fold(vectors, labels, [""] * 300, 0), labels)
    assert len({*range(9)} & {*found}) >= 8
    assert len(found) <= 12
    vectors, labels = told_apart(300)
    assert len(doubts(out_of_fold(vectors, labels, [""] * 300, 0), labels)) <= 3


def test_what_shows_the_same_judges_no_label_of_its_own() -> None:
    """A copy that has the wrong label, too, would vouch for it."""
    vectors, labels = told_apart(60, wrong=1)
    vectors = torch.cat([vectors, vectors[:1].expand(20, -1)])
    labels = torch.cat([labels, labels[:1].expand(20)])
    groups = ["same", *[""] * 59, *["same"] * 20]
    own = out_of_fold(vectors, labels, groups, 0)[0, labels[0]]
    assert own < 0.3
    assert out_of_fold(vectors, labels, [""] * 80, 0)[0, labels[0]] > 0.5


def test_always_the_largest_class_is_no_knowledge() -> None:
    targets = torch.tensor([0] * 90 + [1] * 10)
    assert agreement(torch.zeros(100, dtype=torch.int64), targets) == (0.9, 0.0)
    assert agreement(targets, targets)[1] > 5
    said = targets[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    assert abs(agreement(said, targets)[1]) < 3
