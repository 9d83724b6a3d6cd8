"""What layers know, and what more images would bring: on features whose truth is known."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from zoo.advice.depths import probe_depths
from zoo.advice.growth import grow
from zoo.advice.held_out import held_out, part_folds
from zoo.finetune.strategies.linear import Scaling

CLASSES = 3


def drawn(images: int, apart: float, features: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features and classes whose means are ``apart`` deviations from each other."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(images) % CLASSES
    noise = torch.randn(images, features, generator=generator)
    return noise + apart * torch.eye(CLASSES, features)[targets], targets


def test_an_image_is_scored_by_a_probe_that_did_not_see_it() -> None:
    features, targets = drawn(60, 1.5)
    divisions = part_folds(targets, 0)[:1]
    found = held_out(features, targets, task="classification", divisions=divisions)
    for fitted, left in divisions[0]:
        scaling = Scaling.of(features[fitted])
        near = []
        for c in (10.0**power for power in range(-4, 3)):
            model = LogisticRegression(C=c, max_iter=10_000, tol=1e-9)
            model.fit(scaling.apply(features[fitted]), targets[fitted])
            logits = torch.tensor(model.decision_function(scaling.apply(features[left])))
            said = found.outputs[left] - found.outputs[left].mean(dim=1, keepdim=True)
            near.append((said - logits).abs().max() / logits.abs().max())
        assert min(near) < 0.1  # of one of the values of C that are tried


def test_labels_that_mean_nothing_score_as_chance() -> None:
    features, targets = drawn(150, 3.0, features=300)
    shuffled = targets[torch.randperm(150, generator=torch.Generator().manual_seed(1))]
    found, _ = probe_depths({"a": features, "head": features}, shuffled, task="classification")
    assert all(depth.low < 1 / CLASSES < depth.high for depth in found.depths)


def test_the_depth_that_knows_the_classes_is_found() -> None:
    known, targets = drawn(120, 2.0)
    less, _ = drawn(120, 0.7, seed=1)
    nothing, _ = drawn(120, 0.0, seed=2)
    layers = {"stem": nothing, "middle": known, "head": less}
    found, said = probe_depths(layers, targets, task="classification")
    assert [depth.at for depth in found.depths] == ["stem", "middle", "head", "all"]
    assert found["all"].features == 36
    assert found.earlier == "middle"
    assert found.gained[1] > 0
    assert found["stem"].low < 1 / CLASSES < found["stem"].high
    assert found["middle"].score == pytest.approx(said["middle"].scores.mean().item())
    assert found["middle"].low < found["middle"].score < found["middle"].high


def test_depths_that_know_different_classes_know_more_together() -> None:
    features, targets = drawn(150, 2.5)
    first, second = features.clone(), features.clone()
    first[:, 0] = second[:, 1] = 0  # each is blind for one class
    found, _ = probe_depths({"a": first, "head": second}, targets, task="classification")
    assert found.best == "all"
    assert found["all"].score > found[found.earlier].high


def test_groups_are_in_one_fold() -> None:
    """Pairs of the same image have random labels: who saw one knows the other."""
    images, _ = drawn(40, 0.0, features=200)
    features = images.repeat(2, 1) + 0.01 * drawn(80, 0.0, features=200, seed=5)[0]
    targets = torch.randint(0, 2, (40,), generator=torch.Generator().manual_seed(3)).repeat(2)
    groups = [f"{at % 40}" for at in range(80)]
    layers = {"head": features}
    cheated, _ = probe_depths(layers, targets, task="classification")
    honest, _ = probe_depths(layers, targets, task="classification", groups=groups)
    assert cheated["head"].score > 0.9
    assert honest["head"].low < 0.5 < honest["head"].high


def test_labels_and_numbers_have_curves() -> None:
    features, targets = drawn(90, 2.0)
    labels = torch.nn.functional.one_hot(targets).float()
    many, _ = probe_depths({"head": features}, labels, task="multi-label")
    assert 0.5 < many["head"].score <= 1
    numbers, _ = probe_depths({"head": features}, features[:, :1] * 2, task="regression")
    assert numbers["head"].score > 0.99


def test_what_more_images_bring_is_foretold() -> None:
    features, targets = drawn(3000, 1.0, features=60)
    here, rest = slice(0, 150), slice(300, 3000)
    found = grow(features[here], targets[here], task="classification", c=0.01, more=150)
    assert [size.images for size in found.sizes] == [30, 60, 90, 120]
    reached = []
    for end in (150, 300):
        scaling = Scaling.of(features[:end])
        model = LogisticRegression(C=0.01).fit(scaling.apply(features[:end]), targets[:end])
        reached.append(model.score(scaling.apply(features[rest]), targets[rest]))
    assert found.low < reached[1] - reached[0] < found.high
    assert found.brings > 0


def test_where_nothing_is_learned_more_images_bring_nothing() -> None:
    features, targets = drawn(120, 0.0, features=60)
    found = grow(features, targets, task="classification", c=0.01)
    assert found.low == 0
    assert found.brings < 0.08
