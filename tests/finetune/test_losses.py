"""The loss of a recipe: classes and labels that are rare count as much as common ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo import plugins
from zoo.backbones.load import load
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import InvalidOption
from zoo.finetune.dataset.augment import Transform
from zoo.finetune.dataset.batches import Batches
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.run import finetune
from zoo.finetune.setup.losses import make_loss
from zoo.workspace import Workspace

CPU = torch.device("cpu")


def test_each_class_weighs_the_same(shapes: Path) -> None:
    for number in range(8):
        (shapes / "10" / f"{number:02}.png").unlink()
    dataset = open_dataset(str(shapes))
    loss = make_loss(
        Recipe(data=str(shapes), class_weights="balanced"), plugins.head("linear"), dataset, CPU
    )
    counts = Counter(sample.target for sample in dataset.train)
    assert counts[1] < counts[0]
    weights = loss.get_buffer("weight").tolist()
    share = [weight * counts[label] for label, weight in enumerate(weights)]
    assert share == pytest.approx([len(dataset.train) / 3] * 3)
    plain = make_loss(Recipe(data=str(shapes)), plugins.head("linear"), dataset, CPU)
    assert plain.weight is None


def test_both_sides_of_a_label_weigh_the_same(shapes: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    rows = [f"{path},{int('10' in path.parts)},{number % 2}"
            for number, path in enumerate(sorted(shapes.rglob("*.png")))]  # fmt: skip
    table.write_text("\n".join(["path,round,odd", *rows]))
    dataset = open_dataset(str(table), task="multi-label")
    recipe = Recipe(data=str(table), class_weights="balanced")
    loss = make_loss(recipe, plugins.head("linear"), dataset, CPU)
    targets = torch.tensor([sample.target for sample in dataset.train])
    there, missing = targets.sum(dim=0), (1 - targets).sum(dim=0)
    assert (loss.get_buffer("pos_weight") * there).tolist() == pytest.approx(missing.tolist())
    assert there[0] < missing[0]


LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def of_task(task: str, tmp_path: Path, shapes: Path, **options: Any) -> torch.nn.Module:
    """The loss of a recipe for three classes, or two labels."""
    data = shapes
    if task != "classification":
        data = tmp_path / "table.csv"
        rows = [f"{path},{at % 2},{at % 3 == 0:d}" for at, path in enumerate(shapes.rglob("*.png"))]
        columns = "path,label,label2" if task == "regression" else "path,one,other"
        data.write_text("\n".join([columns, *rows]))
    named: Any = task
    dataset = open_dataset(str(data), task=named)
    return make_loss(Recipe(data=str(data), **options), plugins.head("linear"), dataset, CPU)


def test_focal_loss_of_classes(tmp_path: Path, shapes: Path) -> None:
    loss = of_task("classification", tmp_path, shapes, loss="focal")
    targets = torch.tensor([0, 1, 2, 3, 0, 1])
    shares = LOGITS.softmax(1)[torch.arange(6), targets]
    expected = (-((1 - shares) ** 2) * shares.log()).mean()
    assert torch.allclose(loss(LOGITS, targets), expected)
    mixed = 0.5 * torch.eye(4)[targets] + 0.5 * torch.eye(4)[targets.flip(0)]
    other = (-((1 - LOGITS.softmax(1)) ** 2) * LOGITS.log_softmax(1) * mixed).sum(1).mean()
    assert torch.allclose(loss(LOGITS, mixed), other)


def test_focal_and_asymmetric_loss_of_labels(tmp_path: Path, shapes: Path) -> None:
    there = (LOGITS > 0.3).float()
    focal = of_task("multi-label", tmp_path, shapes, loss="focal")
    share = torch.where(there > 0, LOGITS.sigmoid(), 1 - LOGITS.sigmoid())
    assert torch.allclose(focal(LOGITS, there), (-((1 - share) ** 2) * share.log()).mean())
    asymmetric = of_task("multi-label", tmp_path, shapes, loss="asymmetric")
    kept = (1 - LOGITS.sigmoid() + 0.05).clamp(max=1)
    cost = torch.where(there > 0, -(1 - LOGITS.sigmoid()) * LOGITS.sigmoid().log(),
                       -((1 - kept) ** 4) * kept.log())  # fmt: skip
    assert torch.allclose(asymmetric(LOGITS, there), cost.mean(), atol=1e-6)


def test_asymmetric_loss_of_classes_is_finite_and_falls(tmp_path: Path, shapes: Path) -> None:
    loss = of_task("classification", tmp_path, shapes, loss="asymmetric")
    targets = torch.tensor([0, 1, 2, 3, 0, 1])
    right = 5 * torch.eye(4)[targets]
    assert 0 <= loss(right, targets) < loss(LOGITS, targets) < loss(-right, targets)


@pytest.mark.parametrize(
    ("task", "options", "why"),
    [
        ("regression", {"loss": "focal"}, "is for classes and labels"),
        ("classification", {"loss": "asymmetric", "mixup": 0.2}, "takes no mixed images"),
        ("classification", {"loss": "focal", "label_smoothing": 0.1}, "label smoothing: not for"),
        ("multi-label", {"loss": "focal", "class_weights": "balanced"}, "class weights: not for"),
    ],
)
def test_what_a_loss_has_no_place_for(
    tmp_path: Path, shapes: Path, task: str, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidOption, match=why):
        of_task(task, tmp_path, shapes, **options)


def test_a_balanced_sampler_draws_each_class_as_often(shapes: Path) -> None:
    for number in range(10):
        (shapes / "10" / f"{number:02}.png").unlink()
    dataset = open_dataset(str(shapes), validation_share=0)
    transform = Transform(lambda _: torch.zeros(1, 1, 1), (1, 1, 1), random=False)
    plain = Batches(dataset, dataset.train, transform, 8)
    balanced = Batches(dataset, dataset.train, transform, 8, balanced=True)
    assert sorted(at for batch in plain.plan(0) for at in batch) == [*range(len(dataset.train))]
    drawn = Counter(
        int(balanced.targets[at])
        for epoch in range(200)
        for batch in balanced.plan(epoch)
        for at in batch
    )
    share = [drawn[label] / drawn.total() for label in range(3)]
    assert share == pytest.approx([1 / 3] * 3, abs=0.03)
    assert balanced.plan(3) == balanced.plan(3)
    assert balanced.plan(3) != balanced.plan(4)


def test_a_run_with_them(workspace: Workspace, base: str, shapes: Path) -> None:
    """To the end, cached and not, to the same weights."""
    states = []
    for cache in (True, False):
        recipe = Recipe(
            data=str(shapes), strategy="partial", freeze="layer3", epochs=2, image_size=32,
            batch_size=8, loss="focal", sampler="balanced", cache=cache,
        )  # fmt: skip
        done = finetune(workspace, base, recipe, Reference.parse("team/x"), device="cpu")
        states.append(load(workspace.store, done.manifest).state_dict())
    one, other = states
    assert all(torch.allclose(one[name], other[name], atol=1e-3) for name in one)
    with pytest.raises(InvalidOption, match="does not use loss, sampler"):
        Recipe(data="x", strategy="probe", loss="focal", sampler="balanced")
