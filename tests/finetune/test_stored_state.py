"""A run that an earlier version cut off is resumed: its state is kept here as a file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from zoo.backbones.load import load
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.finetune.run import finetune, resume
from zoo.lookup.runs import RUNS, STATE, find_run
from zoo.workspace import Workspace

KEPT = Path(__file__).parents[1] / "fixtures" / "cut-off-run"
"""Version 0.1.0, cut off in its second epoch: optimizer, schedule, average, best, generators."""


@pytest.mark.long
def test_a_state_that_version_0_1_wrote_gives_the_same_weights(
    workspace: Workspace, base: str, shapes: Path
) -> None:
    kept = json.loads((KEPT / "run.json").read_bytes())
    kept["recipe"]["data"], kept["parent"] = str(shapes), str(workspace.names.resolve(base)[1])
    recipe = Recipe.from_json({**kept["recipe"], "duplicates": "apart"})
    whole = finetune(workspace, base, recipe, Reference.parse("team/whole"), device="cpu")
    folder = workspace.root / RUNS / "20260101-000000-000000"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(kept))
    shutil.copy(KEPT / STATE, folder)
    resumed = resume(workspace, folder.name)
    # Not to the bit: the state was written on one machine, and is resumed on another.
    one, other = (load(workspace.store, r.manifest).state_dict() for r in (whole, resumed))
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)
    assert resumed.freeze["kept"] == whole.freeze["kept"]
    lines = find_run(workspace, resumed.run).lines()
    steps = [line["steps"] for line in lines if line["kind"] == "step"]
    assert steps == [10, 11, 12, 13, 14]  # saved at 9
