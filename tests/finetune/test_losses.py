"""The loss of a recipe: classes and labels that are rare count as much as common ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from zoo import plugins
from zoo.domain.recipe import Recipe
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.setup.losses import make_loss

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
