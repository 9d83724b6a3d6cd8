"""A run that goes on, or is done again, is the same one; what is other than it was is told."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from fakes.cuts import Cut, cut_at

from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.errors import InvalidData
from zoo.finetune.run import Result, finetune, rerun, resume
from zoo.lookup.runs import Run, list_runs
from zoo.workspace import Workspace

QUICK: dict[str, Any] = {
    "strategy": "partial", "freeze": "layer2", "epochs": 2, "batch_size": 8, "image_size": 32,
}  # fmt: skip


def tune(workspace: Workspace, base: str, data: Path, save: str, **options: Any) -> Result:
    recipe = Recipe(data=str(data), **{**QUICK, **options})
    return finetune(workspace, base, recipe, Reference.parse(save), device="cpu", save_every=1)


def cut_off(workspace: Workspace, base: str, data: Path, **options: Any) -> Run:
    """A run that was cut off after two steps."""
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, 2)
        with pytest.raises(Cut):
            tune(workspace, base, data, "team/cut", **options)
    return list_runs(workspace)[0]


def tabulate(shapes: Path, tested: int) -> Path:
    """A table of the shapes; of each kind every fourth is tested on, from ``tested`` on."""
    table = shapes / "shapes.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for folder in sorted(path for path in shapes.iterdir() if path.is_dir()):
            for number, path in enumerate(sorted(folder.iterdir())):
                part = {tested: "test", tested + 1: "val"}.get(number % 4, "train")
                writer.writerow((path.relative_to(shapes), folder.name, part))
    return table


def test_another_split_of_the_same_images_is_refused(
    workspace: Workspace, base: str, shapes: Path
) -> None:
    table = tabulate(shapes, tested=0)
    tune(workspace, base, table, "team/whole")
    cut = cut_off(workspace, base, table)
    tabulate(shapes, tested=2)
    with pytest.raises(InvalidData, match=r"divided .* otherwise .* when the run began"):
        resume(workspace, cut.id)
    with pytest.raises(InvalidData, match=r"divided .* otherwise .* when team/whole was trained"):
        rerun(workspace, "team/whole", Reference.parse("team/again"), device="cpu")
    tabulate(shapes, tested=0)
    assert resume(workspace, cut.id).run == cut.id
    rerun(workspace, "team/whole", Reference.parse("team/again"), device="cpu")
