"""Options of recipes side by side, as far as networks have what they are about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fakes.checkpoints import add_checkpoint, tensors

from zoo.lookup.side_by_side import compare_checkpoints
from zoo.workspace import Workspace


def test_a_network_without_batch_norm_has_no_option_of_it(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "zoo")
    statistics = {"layer1.0.bn.running_mean": np.zeros(8, dtype=np.float32)}
    recipe = {"data": "digits", "strategy": "finetune"}
    for name, values, more in (
        ("team/without", tensors(1), {}),
        ("team/frozen", {**tensors(2), **statistics}, {"batch_norm": "frozen"}),
        ("team/before", {**tensors(3), **statistics}, {}),  # of an older version
    ):
        add_checkpoint(workspace, name, values, recipe={**recipe, **more})
    names = ["team/without", "team/frozen", "team/before"]
    columns = compare_checkpoints(workspace, names, fold=False).columns
    told = [column.recipe["batch_norm"] for column in columns if column.recipe]
    assert told == [None, "frozen", "live"]
    assert compare_checkpoints(workspace, ["team/without", "team/before"], fold=False).differs == ()
    workspace.close()


def test_outputs_that_mean_something_else_are_told(tmp_path: Path) -> None:
    """Also of checkpoints that were not trained here, and have no recipe to differ in."""
    workspace = Workspace.create(tmp_path / "zoo")
    add_checkpoint(workspace, "team/kinds", tensors(1))
    add_checkpoint(workspace, "team/others", tensors(2))
    add_checkpoint(workspace, "team/ages", tensors(3), recipe={"task": "regression"})
    names = ["team/kinds", "team/others", "team/ages"]
    told = compare_checkpoints(workspace, names, fold=True).remarks
    assert told == (
        "outputs do not mean the same: classification (team/kinds, team/others), "
        "regression (team/ages)",
    )
    assert compare_checkpoints(workspace, names[:2], fold=True).remarks == ()
    workspace.close()
