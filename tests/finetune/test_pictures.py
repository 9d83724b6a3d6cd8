"""What is drawn of a run is what it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.typed import card
from matplotlib.figure import Figure
from PIL import Image

from zoo.backbones.load import load
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.finetune.dataset.open import open_dataset
from zoo.finetune.results.pictures import draw_confusion, draw_curves, save
from zoo.finetune.run import finetune
from zoo.lookup.runs import find_run
from zoo.workspace import Workspace

pytestmark = pytest.mark.pictures

# Three images of a: two taken for a, one for c. One of b: taken for c. None of c.
TARGETS = torch.tensor([0, 0, 0, 1])
SAID = torch.tensor([0, 0, 2, 2])


SHARES: list[list[float]] = [[2 / 3, 0, 1 / 3], [0, 0, 1], [0, 0, 0]]


def outputs(said: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(said, 3).float()


def pixels(figure: Figure, path: Path, *, whole: bool = False) -> np.ndarray:
    save(figure, path) if whole else figure.savefig(path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_a_confusion_matrix_has_a_row_for_what_is_and_a_column_for_what_is_said() -> None:
    figure = draw_confusion(outputs(SAID), TARGETS, ("a", "b$", "c"))
    axes = figure.axes[0]
    (image,) = axes.images
    drawn = image.get_array()
    assert drawn is not None
    assert np.allclose(drawn, SHARES)
    assert image.get_clim() == (0, 1)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["a", r"b\$", "c"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


def test_its_cells_are_seen(tmp_path: Path) -> None:
    """In the file each cell has the color of its share."""
    figure = draw_confusion(outputs(SAID), TARGETS, ("a", "b", "c"))
    drawn = pixels(figure, tmp_path / "confusion.png")
    axes, colors = figure.axes[0], figure.axes[0].images[0].get_cmap()
    for row, shares in enumerate(SHARES):
        for column, share in enumerate(shares):
            # Beside the number in the middle.
            x, y = axes.transData.transform((column - 0.4, row - 0.4)).round().astype(int)
            seen = drawn[len(drawn) - 1 - y, x].astype(int)
            wanted = np.array(colors(float(share), bytes=True)[:3]).astype(int)
            assert abs(seen - wanted).max() <= 3, (row, column)


@pytest.mark.long
def test_that_of_a_run_is_what_its_network_says_of_the_test_images(
    workspace: Workspace, base: str, shapes: Path, tmp_path: Path
) -> None:
    recipe = Recipe(data=str(shapes), image_size=32, epochs=1, batch_size=8, test_share=0.5)
    result = finetune(workspace, base, recipe, Reference.parse("team/a"), device="cpu")
    dataset = open_dataset(str(shapes), test_share=0.5)
    model = load(workspace.store, result.manifest)
    images = torch.stack([card(model).preprocess(dataset.read(one)) for one in dataset.test])
    with torch.no_grad():
        said = model(images)
    targets = torch.tensor([one.target for one in dataset.test])
    run = find_run(workspace, result.run)
    with Image.open(run.folder / "confusion.png") as image:
        drawn = np.asarray(image.convert("RGB"))
    expected = draw_confusion(said, targets, dataset.classes)
    assert np.array_equal(drawn, pixels(expected, tmp_path / "expected.png", whole=True))
    said[0] = -said[0]  # one of them taken for another
    other = draw_confusion(said, targets, dataset.classes)
    assert not np.array_equal(drawn, pixels(other, tmp_path / "other.png", whole=True))

    epochs = [line for line in run.lines() if line["kind"] == "epoch"]
    steps = [line for line in run.lines() if line["kind"] == "step"]
    loss, rate, score = draw_curves(run.lines(), "accuracy").axes
    for axes, key, lines in (
        (loss, "loss", steps),
        (rate, "lr", steps),
        (score, "accuracy", epochs),
    ):
        assert np.asarray(axes.lines[0].get_xydata()).tolist() == [
            [one["steps"], one[key]] for one in lines
        ]
